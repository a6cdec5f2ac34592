package store

import (
	"encoding/binary"
	"slices"

	"ayumi/steps"
)

// sheetPage is a page in a sheet: the pages of participants who are neighbours on one day, as one value. A
// value of its own for each page would cost Badger several times what scoring the day does.
type sheetPage struct {
	participant steps.ParticipantID
	page
}

const (
	sheetVersion = 2
	// sheetPages bounds a sheet: a page that changes has its whole sheet written.
	sheetPages = 32
	// lastSheet is the bound of a day's last sheet, above all participants' IDs, which are UTF-8.
	lastSheet = "\xff"
)

// sheetKey makes the key of the sheet of which no page is of a participant beyond upTo.
func sheetKey(day steps.Day, upTo string) []byte {
	return append(appendDay([]byte{prefixSheet}, day), upTo...)
}

// splitSheetKey is the inverse of sheetKey.
func splitSheetKey(key []byte) (day steps.Day, upTo []byte, ok bool) {
	if len(key) < 6 {
		return 0, nil, false
	}
	return takeDay(key[1:]), key[5:], true
}

// sheetCodec encodes and decodes one sheet after the other, in memory that it keeps. What it decoded is valid
// until it decodes the next.
type sheetCodec struct {
	names []string // of rule sets, and parts
	pages []sheetPage
	lines []pageLine
	ids   []byte
	ends  []int // of the participants' IDs in ids
}

// append encodes pages (see doc.go for the format).
func (c *sheetCodec) append(dst []byte, pages []sheetPage) []byte {
	c.names = c.names[:0]
	for i := range pages {
		c.number(pages[i].ruleSet)
		if parts := pages[i].parts; parts != "" {
			c.number(string(parts))
		}
		for j := range pages[i].lines {
			if l := &pages[i].lines[j]; l.scored() {
				c.number(l.ruleSet)
			}
		}
	}
	dst = append(dst, sheetVersion)
	dst = binary.AppendUvarint(dst, uint64(len(c.names)))
	for _, name := range c.names {
		dst = appendString(dst, name)
	}
	dst = binary.AppendUvarint(dst, uint64(len(pages)))
	before := steps.ParticipantID("")
	for i := range pages {
		p := &pages[i]
		dst = appendShared(dst, before, p.participant)
		dst = appendPage(dst, &p.page, c.number)
		before = p.participant
	}
	return dst
}

// number returns the place of a name among those of the sheet, which mostly has one: the parts of neighbours are
// mostly alike too.
func (c *sheetCodec) number(name string) uint64 {
	i := slices.Index(c.names, name)
	if i < 0 {
		i = len(c.names)
		c.names = append(c.names, name)
	}
	return uint64(i)
}

// parse decodes a sheet.
func (c *sheetCodec) parse(body []byte) ([]sheetPage, error) {
	r := reader{b: body}
	if r.byte() != sheetVersion {
		r.fail()
	}
	c.parseNames(&r)
	c.pages, c.lines, c.ids, c.ends = c.pages[:0], c.lines[:0], c.ids[:0], c.ends[:0]
	start := 0
	for range r.count(len(r.b)) {
		before := c.ids[start:]
		start = len(c.ids)
		c.ids = append(c.ids, before[:r.count(len(before))]...)
		c.ids = append(c.ids, r.bytes()...)
		if string(before) >= string(c.ids[start:]) {
			r.fail() // they rise
		}
		c.ends = append(c.ends, len(c.ids))
		var p page
		p, c.lines = parsePage(&r, c.names, c.lines)
		c.pages = append(c.pages, sheetPage{page: p})
	}
	ids := steps.ParticipantID(c.ids) // one string for all
	start = 0
	for i, end := range c.ends {
		c.pages[i].participant = ids[start:end]
		start = end
	}
	return c.pages, r.done()
}

// parseNames decodes the names, and makes no new string of one that the sheet before had too.
func (c *sheetCodec) parseNames(r *reader) {
	before := c.names
	c.names = c.names[:0]
	for i := range r.count(len(r.b)) {
		b := r.bytes()
		if i < len(before) && before[i] == string(b) {
			c.names = append(c.names, before[i])
			continue
		}
		before = nil // it was overwritten from here on
		c.names = append(c.names, string(b))
	}
}
