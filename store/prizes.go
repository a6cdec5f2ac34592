package store

import (
	"cmp"
	"context"
	"encoding/binary"

	"github.com/dgraph-io/badger/v4"

	"ayumi/prize"
	"ayumi/steps"
)

const prizeVersion = 1

func appendPrize(dst []byte, p *steps.Prize) []byte {
	dst = append(dst, prizeVersion)
	dst = appendString(dst, p.NameJA)
	dst = appendString(dst, p.NameEN)
	dst = binary.AppendUvarint(dst, uint64(p.Price))
	unlimited := byte(0)
	if p.Unlimited {
		unlimited = 1
	}
	dst = append(dst, unlimited)
	dst = binary.AppendUvarint(dst, p.Stock)
	dst = binary.AppendUvarint(dst, p.Taken)
	dst = binary.AppendVarint(dst, int64(p.Days.From))
	return binary.AppendVarint(dst, int64(p.Days.Until))
}

func parsePrize(body []byte, id steps.PrizeID) (p steps.Prize, err error) {
	r := reader{b: body}
	if r.byte() != prizeVersion {
		r.fail()
	}
	p.ID = id
	p.NameJA, p.NameEN, p.Price = r.string(), r.string(), steps.Points(r.uvarint())
	p.Unlimited, p.Stock, p.Taken = r.byte() == 1, r.uvarint(), r.uvarint()
	p.Days = steps.DayRange{From: steps.Day(r.varint()), Until: steps.Day(r.varint())}
	return p, r.done()
}

// prize reads an item of the catalogue; found is false if there is none.
func (s *Store) prize(txn *badger.Txn, id steps.PrizeID) (p steps.Prize, found bool, err error) {
	body, err := s.getSealed(txn, "prize", prizeKey(id), string(id))
	if err != nil || body == nil {
		return p, false, err
	}
	if p, err = parsePrize(body, id); err != nil {
		return p, false, corrupt("prize", string(id), err)
	}
	return p, true, nil
}

// prizeBytes is about what an item of the catalogue adds to a transaction.
const prizeBytes = 1 << 10

// PutPrize adds an item to the catalogue, or changes one; how many are taken is kept. It returns the
// item as it is now. Less stock than is taken is a Conflict.
func (s *Store) PutPrize(ctx context.Context, p steps.Prize) (steps.Prize, error) {
	if err := prize.Check(&p); err != nil {
		return steps.Prize{}, err
	}
	err := s.change(ctx, prizeBytes, func(txn *badger.Txn) error {
		have, found, err := s.prize(txn, p.ID)
		if err != nil {
			return err
		}
		old := &have
		if !found {
			old = nil
		}
		if p, err = prize.Replace(old, p); err != nil {
			return err
		}
		w := &writes{s: s}
		w.set(prizeKey(p.ID), appendPrize(nil, &p))
		return w.apply(txn)
	}, nil)
	if err != nil {
		return steps.Prize{}, err
	}
	return p, nil
}

// Prize returns an item of the catalogue.
func (s *Store) Prize(id steps.PrizeID) (p steps.Prize, err error) {
	err = s.db.View(func(txn *badger.Txn) (err error) {
		p, err = s.knownPrize(txn, id)
		return err
	})
	return p, err
}

// knownPrize is prize for one that must be there.
func (s *Store) knownPrize(txn *badger.Txn, id steps.PrizeID) (steps.Prize, error) {
	p, found, err := s.prize(txn, id)
	if err == nil && !found {
		err = steps.Errorf("look up prize", steps.NotFound, "there is no prize %q", id)
	}
	return p, err
}

// EachPrize calls fn for every item of the catalogue in the order of their IDs.
func (s *Store) EachPrize(ctx context.Context, fn func(steps.Prize) error) error {
	return s.db.View(func(txn *badger.Txn) error { return s.eachPrize(ctx, txn, fn) })
}

func (s *Store) eachPrize(ctx context.Context, txn *badger.Txn, fn func(steps.Prize) error) error {
	return scan(txn, []byte{prefixPrize}, nil, true, func(key, value []byte) error {
		id := steps.PrizeID(key[1:])
		body, err := s.auth.open(key, value)
		var p steps.Prize
		if err == nil {
			p, err = parsePrize(body, id)
		}
		if err != nil {
			return corrupt("prize", string(id), err)
		}
		return cmp.Or(ctx.Err(), fn(p))
	})
}
