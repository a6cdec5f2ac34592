// Package store is everything that knows Badger and the journal: uploads as they came, the head
// (recent days in memory), day blocks and totals, quarantine, awards, and the registry's table.
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
// A checkpoint writes the head's changed days to blocks, piece by piece in the transactions of
// later groups, keeps those days encoded in memory from then on, and at last deletes the journal
// groups that the blocks cover. Opening replays the journal over the blocks; the merge law makes that
// harmless.
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
//   - A day's total is the sum of its minutes, each the largest that one of the participant's
//     devices counted. A stored total without its block is corruption, never an empty day.
//   - Journal groups and Badger transactions are numbered without gaps. The newest acknowledged
//     numbers stand in a watermark file: a damaged last record looks like one that was being written,
//     and Badger drops a damaged log tail without an error.
//   - A day that changed since it was scored is in the dirty set, which survives a crash: through
//     the journal before a checkpoint, through the dirty table after it.
//
// # Format, version 1
//
// Integers in keys are big-endian. A day is int32 days since 1970-01-01 with the sign bit flipped.
// uvarint and varint are those of encoding/binary; a string is uvarint length and bytes; tag is the
// first 16 bytes of HMAC-SHA256, under the key in the file "key", over the length of the entry's key
// (uint32, little-endian), that key, and the value before the tag.
//
//	key                              value
//	b participant 0 day(4) device    1, uvarint n, n sources, uvarint m, m lanes, tag
//	t day(4) participant             uvarint steps, tag
//	d day(4) participant             empty: the day waits to be scored
//	a day(4) participant             uvarint steps, varint points, string rule set, tag
//	c device                         uvarint group, varint received at, uvarint uploads, string device,
//	                                 contact, tag
//	q id                             quarantine entry as JSON
//	w id 0 part(2)                   parts of the entry's raw bytes
//	r key                            a record of the registry, tag
//	m format|retired|transactions    format version; newest group covered by blocks; transactions
//	m rules|rescore                  fingerprint of the rules; present while all days are rescored
//
// The journal is the files journal/FIRST.log, FIRST being the number of the first group, in 16
// hexadecimal digits. Each holds records: length(4) of what follows but for the tag, then 1, group(8),
// n(4), n commits, tag under the key "j" group(8, big-endian); the other integers are little-endian.
// A file ends at its end, or at a record that is not whole; the next file takes up there.
//
//	commit   varint received at, uvarint n, n uploads
//	upload   flags(1): 1 with contact, 2 accepted; string device, uvarint boot, uvarint seq, contact
//	         if there is one, uvarint n, n runs
//	contact  varint sent at, battery(1), string firmware, varint signal
//	run      string participant (empty: that of the run before in the commit), varint day, uvarint
//	         interval, uvarint first, origin(1), uvarint n, n uvarint counts
//	source   uvarint boot, uvarint seq, origin(1)
//	lane     uvarint interval in minutes, uvarint cells; runs of (uvarint source, uvarint length)
//	         up to the number of cells, source 0 meaning not reported; then for the reported cells
//	         uvarint count, where a 0 is followed by the uvarint length of the run of zeros
//
// The file "memtable" holds, in decimal digits, the size of the memtables that Badger's logs were made
// with; without one it is 67108864.
//
// The watermark file has two slots of 24 bytes, at 0 and 4096, written in turn: "AYWM", group(8),
// transactions(8), CRC-32C of those 20 bytes, little-endian.
package store
