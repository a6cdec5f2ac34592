package store

import (
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"ayumi/merge"
	"ayumi/steps"
)

// Config is how a store is opened. Dir is required; DefaultConfig fills in the rest.
type Config struct {
	Dir string

	// QueueLen is how many payloads, and GroupBytes how many bytes of them, may wait for the
	// committer, which takes all of them as one group. When it is full, Append blocks.
	QueueLen   int
	GroupBytes int
	// CheckpointBytes is how much journal may pile up before the head is written to day blocks.
	CheckpointBytes int64
	// CheckpointEvery is how long a change stays in the journal at most.
	CheckpointEvery time.Duration
	// StopWithin bounds the checkpoint at a clean stop. What it does not reach stays in the journal.
	StopWithin time.Duration
	// HeadBytes is about how much memory recent participant-days may take, an eighth of it decoded.
	// Beyond it days leave the memory that are on disk; where too many are not, a checkpoint begins,
	// and uploads wait for it. The process takes two to three times as much.
	HeadBytes int64
	// QuarantinePerDevice is how many undecided payloads one device may have in quarantine. Beyond
	// it the device's bad payloads are not acknowledged. A reader may have ten times as many that it
	// carried.
	QuarantinePerDevice int
	// MinFreeBytes is the free disk space below which uploads are refused: a full disk would
	// end the process (Badger maps its files). 15 % of the disk is enough where that is less, but
	// never less than what the store itself may still write, which follows from the other sizes.
	MinFreeBytes uint64
	// MemTableBytes is the size of Badger's memtables, of which MemTables wait to be written out
	// while one is filled.
	MemTableBytes int64
	MemTables     int
	// Sources is the policy by which a participant's sources are merged into the minutes of a day. When it is
	// another than the one that the stored totals are by, Run totals all days anew. Nil takes the store's own,
	// for whoever only looks at it.
	Sources *merge.Config
	// Orders opens what knows the participants' orders of their sources, which may be kept in the store's
	// table. Open calls it before anything is totalled. Nil: no participant has one.
	Orders func(Table) (Orders, error)
	// AcceptLoss opens a store whose journal ends before its watermark, after the loss was
	// reported and an operator decided.
	AcceptLoss bool

	// Calendar says on which day something was sent.
	Calendar steps.Calendar
	Clock    func() time.Time
}

// DefaultConfig returns the settings for a machine with a few GiB of memory.
func DefaultConfig(dir string) Config {
	sources := merge.DefaultConfig()
	return Config{
		Sources:             &sources,
		Dir:                 dir,
		QueueLen:            maxEntries,
		GroupBytes:          4 << 20,
		CheckpointBytes:     64 << 20,
		CheckpointEvery:     5 * time.Minute,
		StopWithin:          2 * time.Second,
		HeadBytes:           512 << 20,
		QuarantinePerDevice: 1000,
		MinFreeBytes:        1 << 30,
		MemTableBytes:       64 << 20,
		MemTables:           3,
		Clock:               time.Now,
	}
}

func (c *Config) check() error {
	for _, bound := range []struct {
		name string
		ok   bool
	}{
		{"Dir", c.Dir != ""},
		{"QueueLen", c.QueueLen > 0 && c.QueueLen <= maxEntries},
		{"GroupBytes", c.GroupBytes > 0 && int64(c.GroupBytes) <= c.MemTableBytes/16},
		{"CheckpointBytes", c.CheckpointBytes > 0 && c.CheckpointBytes <= 1<<40},
		{"CheckpointEvery", c.CheckpointEvery > 0},
		{"HeadBytes", c.HeadBytes > 0},
		{"QuarantinePerDevice", c.QuarantinePerDevice > 0},
		{"MemTableBytes", c.MemTableBytes >= 16<<20 && c.MemTableBytes <= 1<<30},
		{"MemTables", c.MemTables > 0},
		{"Clock", c.Clock != nil},
	} {
		if !bound.ok {
			return steps.Errorf("open store", steps.Invalid, "%s is missing or out of range", bound.name)
		}
	}
	if c.Sources != nil {
		return c.Sources.Validate()
	}
	return nil
}

// badgerOptions are those under which Badger keeps what it acknowledged: every commit is fsynced
// before it returns, and every value stays below the threshold of the value log, whose fsync
// errors Badger only logs. Tables are compressed for the sake of the keys and of small rows; day blocks
// are coded and authenticated, of which nothing can be pressed out.
func (c *Config) badgerOptions(log badger.Logger) badger.Options {
	return badger.DefaultOptions(c.Dir).
		WithSyncWrites(true).
		WithDetectConflicts(false). // one committer
		WithCompression(options.ZSTD).
		WithZSTDCompressionLevel(1).
		WithBlockSize(16 << 10).
		WithBlockCacheSize(blockCacheBytes).
		WithIndexCacheSize(0).
		WithNumCompactors(2).
		WithNumMemtables(c.MemTables).
		WithMemTableSize(c.MemTableBytes).
		WithNumLevelZeroTables(levelZeroTables).
		WithNumVersionsToKeep(1).
		WithValueLogFileSize(64 << 20).
		WithMetricsEnabled(false).
		WithLogger(log)
}

// blockCacheBytes is for table blocks that were decompressed.
const blockCacheBytes = 32 << 20
