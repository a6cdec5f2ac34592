// Package store is everything that knows Badger: the journal of uploads, the head (recent days in
// memory), day blocks and totals, quarantine, awards, and the registry's table.
//
// # How a write becomes durable
//
// Every write goes through one committer goroutine (Run). Whoever appends a payload encodes it into
// the open group; the committer takes the group, writes it as one journal record in one Badger
// transaction with SyncWrites, merges it into the head, and only then tells the completions. So an
// acknowledged upload is fsynced, and a read after the acknowledgement sees it. While one group's
// fsync is under way, the group before it is merged. Concurrent commits followed by one Sync would
// lose data when Badger rotates its memtable, which is why there is one committer. After a failed
// commit nothing is acknowledged any more and Run returns: what is in doubt is not served.
//
// A checkpoint writes the head's changed days to blocks, piece by piece in the transactions of
// later groups, keeps those days encoded in memory from then on, and at last deletes the journal
// groups that the blocks cover. Opening replays the journal over the blocks; the merge law makes that
// harmless.
//
// # Invariants
//
//   - A cell (participant, device, day, interval, index) holds the highest (revision, count,
//     origin) that was ever merged into it, whatever the order.
//   - A day's total is the sum of its minutes, each the largest that one of the participant's
//     devices counted. A stored total without its block is corruption, never an empty day.
//   - Journal groups are numbered without gaps. The newest acknowledged number stands in a
//     watermark file beside Badger, because Badger drops a damaged log tail without an error.
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
//	j group(8) part(2)               parts of: 1, group(8), n(4), both little-endian, n commits, tag
//	                                 (under the key of part 0)
//	b participant 0 day(4) device    1, uvarint n, n sources, uvarint m, m lanes, tag
//	t day(4) participant             uvarint steps, tag
//	d day(4) participant             empty: the day waits to be scored
//	a day(4) participant             uvarint steps, varint points, string rule set, tag
//	c device                         uvarint group, varint received at, uvarint uploads, string device,
//	                                 contact, tag
//	q id                             quarantine entry as JSON
//	w id 0 part(2)                   parts of the entry's raw bytes
//	r key                            a record of the registry
//	m format|retired|rules|rescore   format version; newest group covered by blocks; fingerprint of
//	                                 the rules; present while all days are being rescored
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
// The watermark file has two slots of 16 bytes, at 0 and 4096, written in turn: "AYWM", group(8)
// little-endian, CRC-32C of those 12 bytes, little-endian.
package store
