package store

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
	"github.com/prometheus/client_golang/prometheus"

	"ayumi/steps"
)

// Store is the durable time series with its quarantine, awards and registry table. Its methods
// are safe for concurrent use once Run has started.
type Store struct {
	cfg     Config
	db      *badger.DB
	log     *slog.Logger
	metrics *metrics
	auth    *auth
	space   func(dir string) (free, whole uint64, err error)

	queue   sync.Mutex    // guards the next four
	open    *group        // to which payloads are appended
	spare   *group        // memory for the next one
	closed  bool          // shutting down
	failed  bool          // a commit failed
	work    chan struct{} // capacity 1: the open group is not empty
	full    atomic.Bool   // the disk has no room for uploads
	short   atomic.Bool   // nor for any other change
	scratch sync.Pool     // of *appendScratch
	decoded sync.Pool     // of *hotDay
	due     dueDays       // for whoever scores days
	totals  *totals

	restaled   atomic.Bool           // stored totals are, or were when the store was opened, by another policy
	retotal    *retotalling          // what is to do about that; nil if nothing. Run's
	retotalled chan struct{}         // closed when nothing is left to total anew
	orderless  []steps.ParticipantID // whose order was changing when the store was closed. Run's
	ordering   sync.Mutex            // held while a participant's order changes

	journalBytes atomic.Int64 // since the last checkpoint began

	// Owned by the committer.
	watermark    *watermark
	next         uint64        // sequence of the next journal group
	merged       uint64        // newest group that is merged
	retired      atomic.Uint64 // newest group whose changes are all in day blocks
	checkpoint   *checkpoint
	checkpointed int64 // unix seconds of the last checkpoint's begin
	segments     *segments
	txns         uint64 // Badger transactions so far
	logs         *preallocation
	committed    chan error             // outcome of Badger's part of a commit
	records      chan journalRecord     // the journal's part
	written      chan error             // and its outcome
	quarantine   map[steps.DeviceID]int // undecided entries by device, and by the reader that carried them
	flushers     []steps.Flusher        // of the completions just told
	receipt      steps.Receipt          // memory of the receipts that need no keeping
	run          journalRun             // memory of the run at hand
	accounts     steps.Totals           // of the programme
	lists        dirtyLists             // of days that wait to be scored
	exchanges    steps.ExchangeID       // the newest

	pageMu  sync.Mutex    // held while pages and late days are read, prepared and written
	closing chan struct{} // capacity 1: somebody closes a day
	touched touched

	mu        sync.RWMutex // guards all below; written by the committer only
	head      *head
	dirty     map[steps.ParticipantDay]dirtyState
	fresh     []steps.ParticipantDay // dirty, and not known to due yet
	markSeq   uint64
	contacts  *contactBook
	sentParts []sentPart                       // written, in a transaction that is under way; the committer's
	sentOn    dayBounds                        // likewise
	reordered map[steps.ParticipantID]struct{} // whose order has changed, or was changing before

	pageDays   map[steps.Day]struct{}  // that may have pages
	closedDays map[steps.Day]closedDay // or are being closed
	closeAsked map[steps.Day]uint64    // newest mark when the closing was first asked for

	changed chan struct{}
}

// Open opens or creates the store in cfg.Dir and replays its journal. A journal that ends before
// its watermark is an error (*LostTailError), as is every value that it reads and whose tag does not
// hold. So is a disk that is too full for Badger to open.
func Open(cfg Config, log *slog.Logger, reg prometheus.Registerer) (*Store, error) {
	return open(cfg, log, reg, diskSpace)
}

func open(cfg Config, log *slog.Logger, reg prometheus.Registerer, space func(string) (free, whole uint64, err error)) (*Store, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if err := roomToOpen(&cfg, space); err != nil {
		return nil, err
	}
	db, err := openDB(&cfg, log)
	if err != nil && strings.Contains(err.Error(), "Cannot acquire directory lock") { // Badger has no value for it
		return nil, steps.Errorf("open store", steps.Conflict,
			"another process has %q open; stop it first, or use another data directory", cfg.Dir)
	}
	if err != nil {
		return nil, steps.Errorf("open store", steps.Unavailable, "%q: %w", cfg.Dir, err)
	}
	t := new(totals)
	s := &Store{
		cfg: cfg, db: db, log: log, space: space,
		open:       newGroup(),
		work:       make(chan struct{}, 1),
		committed:  make(chan error, 1),
		records:    make(chan journalRecord, 1),
		written:    make(chan error, 1),
		scratch:    sync.Pool{New: func() any { return new(appendScratch) }},
		decoded:    sync.Pool{New: func() any { return new(hotDay) }},
		totals:     t,
		head:       newHead(cfg.HeadBytes, t),
		retotalled: make(chan struct{}),
		reordered:  make(map[steps.ParticipantID]struct{}),
		dirty:      make(map[steps.ParticipantDay]dirtyState),
		lists:      dirtyLists{waiting: make(map[uint64]int)},
		contacts:   newContactBook(),
		quarantine: make(map[steps.DeviceID]int),
		pageDays:   make(map[steps.Day]struct{}),
		closedDays: make(map[steps.Day]closedDay),
		closeAsked: make(map[steps.Day]uint64),
		closing:    make(chan struct{}, 1),
		changed:    make(chan struct{}, 1),
	}
	s.metrics = newMetrics(reg, s)
	if err := s.recover(); err != nil {
		s.metrics.unregister(reg)
		return nil, errors.Join(err, s.Close())
	}
	s.watch()
	return s, nil
}

// Close releases the directory. Run must have returned. It is idempotent. On a disk that is too full
// for Badger to close, which writes, it leaves Badger to the end of the process, as a kill does;
// nothing is lost by that.
func (s *Store) Close() error {
	var err error
	if s.watermark != nil {
		err = s.watermark.close()
		s.watermark = nil
	}
	if s.segments != nil {
		err = errors.Join(err, s.segments.close())
	}
	if !s.db.IsClosed() && s.roomToClose() {
		err = errors.Join(err, s.db.Close())
	}
	if err != nil {
		return steps.E("close store", steps.Internal, err)
	}
	return nil
}

// get returns a copy of a value, or nil if there is none.
func (s *Store) get(txn *badger.Txn, key []byte) ([]byte, error) {
	item, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, steps.E("read store", steps.Internal, err)
	}
	value, err := item.ValueCopy(nil)
	if err != nil {
		return nil, steps.E("read store", steps.Internal, err)
	}
	return value, nil
}

// scan calls fn for every key with the prefix, in order, from start (the prefix itself when nil).
// Key and value are valid during the call only.
func scan(txn *badger.Txn, prefix, start []byte, values bool, fn func(key, value []byte) error) error {
	opts := badger.DefaultIteratorOptions
	opts.Prefix, opts.PrefetchValues = prefix, false // it takes a goroutine a value, which lies in the table
	it := txn.NewIterator(opts)
	defer it.Close()
	if start == nil {
		start = prefix
	}
	for it.Seek(start); it.Valid(); it.Next() {
		item := it.Item()
		if !values {
			if err := fn(item.Key(), nil); err != nil {
				return err
			}
			continue
		}
		if err := item.Value(func(v []byte) error { return fn(item.Key(), v) }); err != nil {
			return err
		}
	}
	return nil
}

// errStop ends a scan early without being an error of it.
var errStop = errors.New("stop")

// badgerLog passes Badger's warnings and errors on and keeps its chatter for debugging.
type badgerLog struct{ log *slog.Logger }

func (l badgerLog) Errorf(f string, a ...any)   { l.log.Error(trim("badger: "+f, a)) }
func (l badgerLog) Warningf(f string, a ...any) { l.log.Warn(trim("badger: "+f, a)) }
func (l badgerLog) Infof(f string, a ...any)    { l.log.Debug(trim("badger: "+f, a)) }
func (l badgerLog) Debugf(f string, a ...any)   { l.log.Debug(trim("badger: "+f, a)) }

func trim(format string, args []any) string {
	s := fmt.Sprintf(format, args...)
	for len(s) > 0 && s[len(s)-1] == '\n' {
		s = s[:len(s)-1]
	}
	return s
}
