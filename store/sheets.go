package store

import (
	"bytes"
	"fmt"
	"slices"
	"sort"

	"github.com/dgraph-io/badger/v4"

	"ayumi/steps"
)

// sheetCursor reads pages in the order of their keys, looking up some or walking over all.
type sheetCursor struct {
	s     *Store
	it    *badger.Iterator
	codec sheetCodec
	at    bool // the iterator stands somewhere

	// The sheet at hand; without one, day and upTo are of where one was looked for.
	day   steps.Day
	upTo  []byte
	pages []sheetPage // those that the walk has not come to
	all   []sheetPage
}

func (s *Store) newSheetCursor(txn *badger.Txn) *sheetCursor {
	c := &sheetCursor{s: s}
	c.begin(txn)
	return c
}

// begin has the cursor read from a snapshot. What it has read before stays valid.
func (c *sheetCursor) begin(txn *badger.Txn) {
	opts := badger.DefaultIteratorOptions
	opts.Prefix, opts.PrefetchValues = []byte{prefixSheet}, false
	c.it, c.at = txn.NewIterator(opts), false
}

func (c *sheetCursor) close() { c.it.Close() }

// find returns the page of a participant-day, which must not come before the one that was looked up last.
// The page is valid until the next call.
func (c *sheetCursor) find(pd steps.ParticipantDay) (*page, bool, error) {
	if !c.at || c.day != pd.Day || string(c.upTo) < string(pd.Participant) {
		if err := c.seek(pd); err != nil {
			return nil, false, err
		}
	}
	i := sort.Search(len(c.all), func(i int) bool { return c.all[i].participant >= pd.Participant })
	if i < len(c.all) && c.all[i].participant == pd.Participant {
		return &c.all[i].page, true, nil
	}
	return nil, false, nil
}

// seek loads the sheet that a page is in, if it is in any; otherwise nothing is at hand up to the day's end.
func (c *sheetCursor) seek(pd steps.ParticipantDay) error {
	key := sheetKey(pd.Day, string(pd.Participant))
	if c.before(key) { // it is often the next
		c.it.Next()
	}
	if !c.at || c.before(key) {
		c.it.Seek(key)
	}
	c.at = true
	if c.it.Valid() {
		if day, _, ok := splitSheetKey(c.it.Item().Key()); ok && day == pd.Day {
			return c.load()
		}
	}
	c.nothing(pd.Day)
	return nil
}

// before reports whether the iterator stands before a key.
func (c *sheetCursor) before(key []byte) bool {
	return c.at && c.it.Valid() && bytes.Compare(c.it.Item().Key(), key) < 0
}

func (c *sheetCursor) nothing(day steps.Day) {
	c.day, c.upTo = day, append(c.upTo[:0], lastSheet...)
	c.all, c.pages = nil, nil
}

// load decodes the sheet at which the iterator stands.
func (c *sheetCursor) load() error {
	item := c.it.Item()
	day, upTo, ok := splitSheetKey(item.Key())
	if !ok {
		return corrupt("award sheet", fmt.Sprintf("%x", item.Key()), errKey)
	}
	c.day, c.upTo = day, append(c.upTo[:0], upTo...)
	err := item.Value(func(v []byte) error {
		body, err := c.s.auth.open(item.Key(), v)
		if err == nil {
			c.all, err = c.codec.parse(body)
		}
		return err
	})
	if err != nil {
		c.all, c.pages = nil, nil
		return corrupt("award sheet", nameOfSheet(day, upTo), err)
	}
	c.pages = c.all
	return nil
}

// nameOfSheet names a sheet for people.
func nameOfSheet(day steps.Day, upTo []byte) string {
	if string(upTo) == lastSheet {
		return fmt.Sprintf("of %s, the last", day)
	}
	return fmt.Sprintf("of %s up to %s", day, upTo)
}

// walk begins a walk after a participant's page of a day, or with a day's first where there is none.
func (c *sheetCursor) walk(day steps.Day, after steps.ParticipantID) error {
	if err := c.seekFirst(day, after); err != nil {
		return err
	}
	for c.day == day && len(c.pages) > 0 && after != "" && c.pages[0].participant <= after {
		c.pages = c.pages[1:]
	}
	return nil
}

// seekFirst loads the first sheet that may have a page after a participant's, of the day or a later one.
func (c *sheetCursor) seekFirst(day steps.Day, after steps.ParticipantID) error {
	c.it.Seek(sheetKey(day, string(after)))
	c.at = true
	if !c.it.Valid() {
		c.nothing(day)
		return nil
	}
	return c.load()
}

// peek returns the page that the walk has come to; more is false at its end. It is valid until the next
// call after a step.
func (c *sheetCursor) peek() (day steps.Day, p *sheetPage, more bool, err error) {
	for len(c.pages) == 0 {
		if !c.it.Valid() {
			return 0, nil, false, nil
		}
		c.it.Next()
		if !c.it.Valid() {
			return 0, nil, false, nil
		}
		if err := c.load(); err != nil {
			return 0, nil, false, err
		}
	}
	return c.day, &c.pages[0], true, nil
}

// step takes the walk to the next page.
func (c *sheetCursor) step() { c.pages = c.pages[1:] }

// page reads a participant-day's page.
func (s *Store) page(txn *badger.Txn, pd steps.ParticipantDay) (p page, found bool, err error) {
	if !s.dayState(pd.Day).pages {
		return p, false, nil
	}
	c := s.newSheetCursor(txn)
	defer c.close()
	at, found, err := c.find(pd)
	if found {
		p = *at
	}
	return p, found, err
}

// eachOwnPage calls fn for a participant's pages of a range, in the order of days. The page is valid during the call.
func (s *Store) eachOwnPage(txn *badger.Txn, r steps.DayRange, p steps.ParticipantID, fn func(d steps.Day, page *page) error) error {
	c := s.newSheetCursor(txn)
	defer c.close()
	days := slices.DeleteFunc(s.daysBut(nil), func(d steps.Day) bool { return !r.Contains(d) })
	slices.Sort(days)
	for _, d := range days {
		page, found, err := c.find(steps.ParticipantDay{Participant: p, Day: d})
		if err == nil && found {
			err = fn(d, page)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sheetEditor changes pages in the order of their keys, and has every sheet that has changed set.
type sheetEditor struct {
	cursor *sheetCursor
	set    func(key []byte, pages []sheetPage) // is given each sheet that has changed

	// The sheet at hand.
	open    bool
	day     steps.Day
	upTo    string
	passed  []sheetPage // its pages as they are now, up to the one that was edited last
	left    []sheetPage // its other pages
	changed bool
}

// page moves on to the page of a participant-day, which must come after the one before. found is false for
// a new one, which is empty, and which drop takes out again. The caller may change the page until it moves
// on, and calls keep if it did. stored is false where the day is known to have no sheets.
func (e *sheetEditor) page(pd steps.ParticipantDay, stored bool) (p *page, found bool, err error) {
	if !e.open || e.day != pd.Day || e.upTo < string(pd.Participant) {
		e.finish()
		if err := e.load(pd, stored); err != nil {
			return nil, false, err
		}
	}
	i := 0
	for i < len(e.left) && e.left[i].participant < pd.Participant {
		i++
	}
	if found = i < len(e.left) && e.left[i].participant == pd.Participant; found {
		i++
	}
	e.passed, e.left = append(e.passed, e.left[:i]...), e.left[i:]
	if !found {
		e.passed = append(e.passed, sheetPage{participant: pd.Participant})
	}
	return &e.passed[len(e.passed)-1].page, found, nil
}

// load takes up the sheet that a page belongs into.
func (e *sheetEditor) load(pd steps.ParticipantDay, stored bool) error {
	e.open, e.day, e.upTo = true, pd.Day, lastSheet
	e.passed, e.left = e.passed[:0], nil
	if !stored {
		return nil
	}
	if err := e.cursor.seek(pd); err != nil {
		return err
	}
	e.upTo, e.left = string(e.cursor.upTo), e.cursor.all
	return nil
}

func (e *sheetEditor) keep() { e.changed = true }

func (e *sheetEditor) drop() { e.passed = e.passed[:len(e.passed)-1] }

// finish has the sheet at hand set if it has changed.
func (e *sheetEditor) finish() {
	if e.changed {
		e.divide(append(e.passed, e.left...), e.upTo)
	}
	e.open, e.changed = false, false
}

// pause has the sheet at hand set if it has changed, and keeps what is needed of it to go on before anybody
// can read it.
func (e *sheetEditor) pause() {
	if !e.changed {
		return
	}
	e.changed = false
	switch {
	case len(e.passed)+len(e.left) <= sheetPages:
		e.set(sheetKey(e.day, e.upTo), append(e.passed, e.left...))
	case len(e.left) == 0:
		last := e.divide(e.passed, e.upTo)
		e.passed = e.passed[:copy(e.passed, last)]
	default: // so many new ones that this is a place to cut
		e.divide(e.passed, string(e.passed[len(e.passed)-1].participant))
		e.divide(e.left, e.upTo)
		e.passed = e.passed[:0]
	}
}

// divide sets pages as sheets of about one size, the last of them under upTo, and returns the pages of
// the last one.
func (e *sheetEditor) divide(pages []sheetPage, upTo string) (last []sheetPage) {
	for n := (len(pages) + sheetPages - 1) / sheetPages; n > 1; n-- {
		some := pages[:len(pages)/n]
		pages = pages[len(some):]
		e.set(sheetKey(e.day, string(some[len(some)-1].participant)), some)
	}
	e.set(sheetKey(e.day, upTo), pages)
	return pages
}
