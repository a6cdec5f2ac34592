// Package store is everything that knows Badger and the journal: uploads as they came, the head
// (recent days in memory), day blocks and totals, quarantine, the points' ledger with its awards, balances
// and exchanges, and the registry's table.
//
// # How a write becomes durable
//
// Every write goes through one committer goroutine (Run). Whoever appends a payload encodes it into
// the open group; the committer takes the group, appends it to the journal as one record with one
// fdatasync, merges it into the head, and only then tells the completions. So an acknowledged upload
// is on disk, and a read after the acknowledgement sees it. What is no accepted sample (quarantine,
// awards, registry, checkpoints) goes into one Badger transaction with SyncWrites beside the record.
// While one group is being written, the group before it is merged. There is one committer because
// concurrent commits followed by one Sync lose data when Badger rotates its memtable. After a failed
// commit nothing is acknowledged any more and Run returns: what is in doubt is not served.
//
// The head is bounded by bytes, not by days: a day is decoded while uploads come for it, and encoded
// when others need the memory, on disk or not. A checkpoint writes the head's changed days to blocks,
// piece by piece in the transactions of later groups, and at last deletes the journal groups that the
// blocks cover; days that are on disk leave the head when it takes too much.
//
// # Opening
//
// Opening replays the journal over the blocks; the merge law makes that harmless, in any order. The head is
// cut into shards by participant, the contacts by device. One goroutine reads the journal, verifies and parses
// its groups, and deals out their runs and contacts to the shards, a window of the journal at a time.
// Meanwhile others merge the window before: each takes a shard after another, notes its contacts, looks up its
// days, and merges all runs of a day at once, between decoding its block and encoding it. So nothing but the
// blocks stays in memory. Between looking up and merging, the blocks that the head did not hold are read, those
// of all shards in the order of their table. Last, all days that the journal changed are marked dirty.
//
// # A full disk
//
// Badger writes through mapped files, and a page without a block ends the process. So every commit
// looks at the free space first: below one bound uploads are refused, below a lower one every change
// and the checkpoint wait too, and what is left belongs to Badger's own flushes and merges (see
// Config.Reserve). Badger's logs get their blocks when they are begun. Reads go on in any case.
//
// # Invariants
//
//   - A cell (participant, device, day, interval, index) holds the highest (revision, count,
//     origin) that was ever merged into it, whatever the order.
//   - A day's total is the sum of the minutes that the merge policy makes of its cells, in the participant's
//     order of sources, and of nothing else: neither the order nor the time of uploads matters. A block has
//     another total only while days are totalled anew, which the meta table or the order table says.
//   - A day whose steps wait to be scored, or were, and that has no block is corruption, never an empty day.
//     Only a day on which nothing but an activity or a sending was recorded has an award without one.
//   - Journal groups and Badger transactions are numbered without gaps. The newest acknowledged
//     numbers stand in a watermark file: a damaged last record looks like one that was being written,
//     and Badger drops a damaged log tail without an error.
//   - A day that changed since it was scored is in the dirty set, which survives a crash: through
//     the journal before a checkpoint, through the dirty lists after it. Whatever makes a day dirty on disk names
//     it in a new list, in its own transaction. A day counts in the newest list that names it, until it is
//     scored; a list in which no day counts is deleted with the award that was the last to be missing, or in
//     the next transaction. Opening the store makes dirty all that the lists name, which may be more than waits.
//   - The steps of a day that a list names as reported are in its block, or still in the journal.
//   - A page's points are the sum of its postings; a balance is the sum of the final points and entries
//     of its participant; all accounts together are zero. A change of the ledger is in one transaction,
//     whole: whatever can be refused is refused before anything is set.
//   - A review that holds when its day is closed holds the points; one that is cleared afterwards released them in
//     the same transaction.
//   - The page of a closed day changes by corrections only, but for the steps that it was last scored from. A
//     correction, and an award that took the day for open, make it dirty in their own transaction: other days were
//     scored beside what it had, or seemed to have.
//   - A day is dirty until the awards of those that were scored because of it are durable too.
//
// # Totals
//
// The policy is Config.Sources, the participants' orders come from Config.Orders. Reorder changes one: it notes the
// participant in the order table, has the change stored, gives each of the participant's days its total, and marks
// dirty those that may have other minutes; the note goes with the last. When the policy is another than the
// table says, Run does the same with every stored day, in batches that a kill does not undo. The committer alone
// writes totals, in the head and on disk, and whatever is read from disk meanwhile is given its total when it is
// read.
//
// # The ledger
//
// PutAwards writes the pages of participant-days: the postings of their provisional points. CloseDay fixes
// the pages of a day and moves what they earned to the balances, chunk by chunk, in the order of
// participants; the record of the closed day says how far it has come. What it prepares from a snapshot
// the committer checks against the balances that changed since (touched). Everything else is an entry,
// read, computed and written by the committer inside its transaction. docs/ledger.md says what the
// accounts mean.
//
// Pages stand in sheets: the pages of participants who are neighbours on a day, as one value, under the last ID
// that the sheet may have; a day's last sheet is bounded by nothing. A sheet that has grown too large is divided.
// A page alone would be smaller than what Badger spends on a key of its own.
//
// # Format, version 3
//
// Stores of other versions are refused.
//
// Integers in keys are big-endian. A day is int32 days since 1970-01-01 with the sign bit flipped.
// uvarint and varint are those of encoding/binary; a string is uvarint length and bytes; tag is the
// first 16 bytes of HMAC-SHA256, under the key in the file "key", over the length of the entry's key
// (uint32, little-endian), that key, and the value before the tag.
//
//	key                              value
//	t day(4) participant             block: 2, uvarint steps, for each device string ID and cells; tag
//	u list(8)                        days that wait to be scored, or did: 1, uvarint n, n times: varint day less
//	                                 that of the one before, participant, unreported(1); tag
//	b day(4) last participant        sheet of pages, tag; the last participant of a day's last sheet is the byte 0xff
//	c device                         uvarint group, varint received at, uvarint uploads, string device,
//	                                 contact, tag
//	h participant 0 day(4) kind      activity: varint recorded at, string by, varint cancelled at, string
//	                                 by, string reason, byte times, tag
//	n participant                    calendar days on which something was sent: varint first day, a bit a
//	                                 day, tag
//	q id                             quarantine entry as JSON
//	w id 0 part(2)                   parts of the entry's raw bytes
//	r key                            a record of the registry, tag
//	m format|retired|transactions    format version; newest group covered by blocks; transactions
//	m rules|through                  fingerprint of the rules by which all days but dirty ones are scored, ? where a
//	                                 lost list makes that unknown; and the last calendar day whose end was taken
//	                                 into account, day(4)
//	m sources                        merge policy that the totals of blocks are by, as JSON; none: that of a
//	                                 build that had no policy
//	m retotal                        while they are totalled by another: that policy, and the key of the last
//	                                 block that is done, as JSON
//	o participant                    empty: the order of sources is changing, and days wait for their totals
//	z day(4)                         1, state(1), string period, varint at, string by, uvarint participants,
//	                                 uvarint points, uvarint held, string last participant, tag
//	f day(4) last participant        chunk of final points, tag
//	l day(4) participant             late: 2, varint at, uvarint steps, uvarint points, string parts, string rule
//	                                 set, decision(1), varint at, string by, string reason, tag; also where points
//	                                 are as many as the page's, and only parts differ
//	s participant                    balance: 1, uvarint entries, uvarint n, n times string period,
//	                                 uvarint available, uvarint pending; tag
//	e participant 0 seq(8)           entry, tag
//	k participant 0 request key      uvarint seq, tag
//	g account(1)                     varint points, tag: the programme's accounts
//	p prize                          1, string name (ja), string name (en), uvarint price, unlimited(1),
//	                                 uvarint stock, uvarint taken, varint from, varint until, tag
//	x exchange(8)                    1, string participant, string prize, uvarint price, varint at,
//	                                 uvarint entry, state(1), varint changed at, string by, string reason,
//	                                 uvarint refund, tag
//	v day(4) participant             review: 1, state(1), varint found at, varint looked at, uvarint steps, uvarint
//	                                 score, uvarint n, n flags, uvarint n, n events; tag
//	y participant                    fingerprints: 1, uvarint n, n times varint day, uvarint steps, active(1), and
//	                                 where that is 1 the fingerprint(16); tag
//
//	flag     kind(1), exact(1), varint score, varint from, varint to, figure(8), limit(8), shift(8), varint the other
//	         day, string its participant; the three are IEEE 754 doubles, little-endian
//	event    kind(1), varint at, string by, string text, uvarint entry
//	sheet    2, uvarint n, n times string: a rule set, or parts; uvarint n, n times: participant, page
//	page     uvarint steps, varint points, uvarint number of the rule set, uvarint twice n, plus 1 where uvarint
//	         number of the parts follows, n postings: kind(1), varint seconds since the one before, varint points, and
//	         then: of an award or an adjustment uvarint steps and uvarint number of the rule set; of a carried line
//	         uvarint how many it sums up; of a correction uvarint seq of the entry
//	parts    n times: string rule, string activity, uvarint points, uvarint used; the points engine says what they mean
//	chunk    1, varint at, string period, uvarint n, n times: participant, uvarint twice the points, plus 1
//	         where they are held. In chunks, sheets and lists of days a participant is uvarint bytes that it shares
//	         with the one before, string rest
//	entry    1, kind(1), varint at, string request key, varint day, uvarint exchange, string reason, string
//	         by, uvarint n, n postings: from(1), to(1), string period, uvarint points
//
// The journal is the files journal/FIRST.log, FIRST being the number of the first group, in 16
// hexadecimal digits. Each holds records: length(4) of what follows but for the tag, then 1, group(8),
// n(4), n commits, tag under the key "j" group(8, big-endian); the other integers are little-endian.
// A file ends at its end, or at a record that is not whole or not the next; the next file takes up there.
// Behind that is whatever the file held as a spare: journal/*.spare are files that will be written over.
//
//	commit   varint received at, uvarint n, n uploads
//	upload   flags(1): 1 with contact, 2 accepted; string device, uvarint boot, uvarint seq, contact
//	         if there is one, uvarint n, n runs
//	contact  varint sent at, battery(1), string firmware, varint signal
//	run      string participant (empty: that of the run before in the commit), varint day, uvarint
//	         interval, uvarint first, origin(1), uvarint n, n uvarint counts
//
// The cells of a device in a block are bits, the first in the highest place of a byte, the last byte filled
// up with zeros. gamma is Elias's code of a number from 1; signed is gamma of the zigzag number plus 1;
// wide is how many bits a number has in 7 bits, then those below its first.
//
//	cells    gamma n + 1, n lanes by ascending interval
//	lane     gamma interval in minutes, gamma first cell + 1, gamma number of cells; stretches up to that
//	         number; counts of the reported cells
//	stretch  110, gamma length: not reported. Otherwise the source, signed length less that of the stretch
//	         before (at first: less the number of cells), gamma n + 1: as many more stretches of that length
//	         follow, each with the next source
//	source   0: boot and origin of the newest in the list, seq one higher; 10, 1, wide zigzag difference of
//	         seq; 10, 0, wide boot, wide seq, gamma origin + 1; 111, gamma how far back in the list it is
//	counts   of minutes: the prefix codes of counts.go; of longer intervals: gamma bits + 1, then the bits
//	         below the first
//
// The file "memtable" holds, in decimal digits, the size of the memtables that Badger's logs were made
// with; without one it is 67108864.
//
// The watermark file has two slots of 24 bytes, at 0 and 4096, written in turn: "AYWM", group(8),
// transactions(8), CRC-32C of those 20 bytes, little-endian.
package store
