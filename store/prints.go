package store

import (
	"context"
	"encoding/binary"

	"github.com/dgraph-io/badger/v4"

	"ayumi/plausibility"
	"ayumi/review"
	"ayumi/steps"
)

const printsVersion = 1

func appendPrints(dst []byte, p *review.Prints) []byte {
	dst = append(dst, printsVersion)
	dst = binary.AppendUvarint(dst, uint64(len(p.Days)))
	for i := range p.Days {
		d := &p.Days[i]
		dst = binary.AppendVarint(dst, int64(d.Day))
		dst = binary.AppendUvarint(dst, d.Steps)
		dst = append(dst, boolByte(d.Active))
		if d.Active {
			dst, _ = d.Pattern.AppendBinary(dst) // never fails
		}
	}
	return dst
}

func parsePrints(body []byte, p *review.Prints) error {
	r := reader{b: body}
	if r.byte() != printsVersion {
		r.fail()
	}
	p.Days = p.Days[:0]
	for range r.count(len(r.b)) {
		d := review.Print{Day: steps.Day(r.varint()), Steps: r.uvarint(), Active: r.byte() == 1} //nolint:gosec // written from one
		if d.Active && r.err == nil {
			if len(r.b) < plausibility.FingerprintSize {
				r.fail()
				break
			}
			if err := d.Pattern.UnmarshalBinary(r.b[:plausibility.FingerprintSize]); err != nil {
				return err
			}
			r.b = r.b[plausibility.FingerprintSize:]
		}
		p.Days = append(p.Days, d)
	}
	return r.done()
}

func printsKey(p steps.ParticipantID) []byte { return append([]byte{prefixPrints}, p...) }

// EachPrints calls fn for each of the people, who are in the order of their IDs, with what is kept of the days that
// were looked at. It is valid during the call only.
func (s *Store) EachPrints(ctx context.Context, people []steps.ParticipantID, fn func(i int, p *review.Prints) error) error {
	return s.db.View(func(txn *badger.Txn) error {
		rows := s.newSeeker(txn, prefixPrints)
		defer rows.close()
		var p review.Prints
		for i, id := range people {
			p.Participant, p.Days = id, p.Days[:0]
			body, found, err := rows.find(printsKey(id))
			if err == nil && found {
				err = parsePrints(body, &p)
			}
			if err != nil {
				return corrupt("fingerprints", string(id), err)
			}
			if err := ctx.Err(); err != nil {
				return steps.E("read fingerprints", steps.Unavailable, err)
			}
			if err := fn(i, &p); err != nil {
				return err
			}
		}
		return nil
	})
}

// PutPrints replaces what is kept of people's days. They have to fit into one transaction: a few hundred.
func (s *Store) PutPrints(ctx context.Context, people []review.Prints) error {
	w := &writes{s: s}
	size := 0
	for i := range people {
		value := appendPrints(nil, &people[i])
		size += len(value) + rowBytes
		w.set(printsKey(people[i].Participant), value)
	}
	return s.change(ctx, size, w.apply, nil)
}

// rowBytes is about what a row's key and tag add to a transaction.
const rowBytes = steps.MaxIDLen + tagBytes + keyOverhead
