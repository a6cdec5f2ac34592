package store

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"ayumi/ledger"
	"ayumi/prize"
	"ayumi/steps"
)

const exchangeVersion = 1

func appendExchange(dst []byte, x *steps.Exchange) []byte {
	dst = append(dst, exchangeVersion)
	dst = appendString(dst, string(x.Participant))
	dst = appendString(dst, string(x.Prize))
	dst = binary.AppendUvarint(dst, uint64(x.Price))
	dst = binary.AppendVarint(dst, x.At)
	dst = binary.AppendUvarint(dst, x.Entry)
	dst = append(dst, byte(x.State))
	dst = binary.AppendVarint(dst, x.ChangedAt)
	dst = appendString(dst, x.By)
	dst = appendString(dst, x.Reason)
	return binary.AppendUvarint(dst, x.Refund)
}

func parseExchange(body []byte, id steps.ExchangeID) (x steps.Exchange, err error) {
	r := reader{b: body}
	if r.byte() != exchangeVersion {
		r.fail()
	}
	x.ID = id
	x.Participant, x.Prize, x.Price = steps.ParticipantID(r.string()), steps.PrizeID(r.string()), steps.Points(r.uvarint())
	x.At, x.Entry, x.State, x.ChangedAt = r.varint(), r.uvarint(), steps.ExchangeState(r.byte()), r.varint()
	x.By, x.Reason, x.Refund = r.string(), r.string(), r.uvarint()
	return x, r.done()
}

// exchange reads an exchange, which is NotFound if there is none.
func (s *Store) exchange(txn *badger.Txn, id steps.ExchangeID) (x steps.Exchange, err error) {
	body, err := s.getSealed(txn, "exchange", exchangeKey(id), fmt.Sprint(id))
	if err != nil {
		return x, err
	}
	if body == nil {
		return x, steps.Errorf("look up exchange", steps.NotFound, "there is no exchange %d", id)
	}
	if x, err = parseExchange(body, id); err != nil {
		err = corrupt("exchange", fmt.Sprint(id), err)
	}
	return x, err
}

// Exchange gives a participant a prize for points: balance, stock, ledger entry and exchange change
// together. Asking again with the same key is answered with the exchange that is there; asking for
// something else with it is a Conflict. So are a prize that is gone, costs something else or cannot be
// asked for today, and points that do not suffice; the error says what is missing.
func (s *Store) Exchange(ctx context.Context, r steps.ExchangeRequest) (x steps.Exchange, err error) {
	if r.Participant == "" || r.Key == "" || r.Prize == "" {
		return x, steps.Errorf("exchange points", steps.Invalid, "participant, request key and prize are needed")
	}
	err = s.change(ctx, 2*entryBytes, func(txn *badger.Txn) error {
		old, found, err := s.requested(txn, r.Participant, r.Key)
		if err != nil {
			return err
		}
		if found {
			x, err = s.exchangeOf(txn, &old, &r)
			return err
		}
		x, err = s.newExchange(txn, &r)
		return err
	}, nil)
	if err != nil {
		return steps.Exchange{}, err
	}
	return x, nil
}

// exchangeOf returns the exchange that an earlier request with the same key made.
func (s *Store) exchangeOf(txn *badger.Txn, e *steps.Entry, r *steps.ExchangeRequest) (steps.Exchange, error) {
	if e.Kind != steps.EntryExchange {
		return steps.Exchange{}, steps.Errorf("exchange points", steps.Conflict,
			"the request key %q was used for another entry (%s, %d); use a new key for a new request", r.Key, e.Kind, e.Seq)
	}
	x, err := s.exchange(txn, e.Exchange)
	if err == nil && (x.Prize != r.Prize || x.Price != r.Price) {
		return steps.Exchange{}, steps.Errorf("exchange points", steps.Conflict,
			"the request key %q was used for prize %s at %d points; use a new key for a new request", r.Key, x.Prize, x.Price)
	}
	return x, err
}

// newExchange puts an exchange into txn, on the committer.
func (s *Store) newExchange(txn *badger.Txn, r *steps.ExchangeRequest) (x steps.Exchange, err error) {
	p, err := s.knownPrize(txn, r.Prize)
	if err != nil {
		return x, err
	}
	if err := prize.Take(&p, r.Price, r.Today); err != nil {
		return x, err
	}
	b, err := s.balance(txn, r.Participant)
	if err != nil {
		return x, err
	}
	postings, err := ledger.Spend(&b, r.Price, r.Periods, r.Today)
	if err != nil {
		return x, err
	}
	id := s.exchanges + 1
	e := steps.Entry{Participant: r.Participant, Kind: steps.EntryExchange, Key: r.Key, Exchange: id, By: r.By, Postings: postings}
	w := &writes{s: s}
	if err := w.post(&b, &e); err != nil {
		return x, err
	}
	x = steps.Exchange{ID: id, Participant: r.Participant, Prize: p.ID, Price: r.Price, At: e.At, Entry: e.Seq,
		State: steps.ExchangeRequested, ChangedAt: e.At, By: r.By}
	w.set(prizeKey(p.ID), appendPrize(nil, &p))
	w.set(exchangeKey(id), appendExchange(nil, &x))
	s.exchanges = id // after this, only an error that ends the store
	return x, w.apply(txn)
}

// ChangeExchange ships an exchange, or cancels it: then the prize goes back into the stock and the
// points to the periods that they came from. Repeating a change changes nothing.
func (s *Store) ChangeExchange(ctx context.Context, c steps.ExchangeChange) (x steps.Exchange, err error) {
	err = s.change(ctx, 2*entryBytes+len(c.Reason)+len(c.By), func(txn *badger.Txn) error {
		if x, err = s.exchange(txn, c.ID); err != nil {
			return err
		}
		again, err := prize.Advance(&x, &c, s.cfg.Clock().Unix())
		if err != nil || again {
			return err
		}
		w := &writes{s: s}
		if x.State == steps.ExchangeCancelled {
			if err := s.refund(txn, w, &x); err != nil {
				return err
			}
		}
		w.set(exchangeKey(x.ID), appendExchange(nil, &x))
		return w.apply(txn)
	}, nil)
	if err != nil {
		return steps.Exchange{}, err
	}
	return x, nil
}

// refund returns the points and the prize of a cancelled exchange.
func (s *Store) refund(txn *badger.Txn, w *writes, x *steps.Exchange) error {
	paid, err := s.entry(txn, x.Participant, x.Entry)
	if err != nil {
		return err
	}
	p, err := s.knownPrize(txn, x.Prize)
	if err != nil {
		return err
	}
	if err := prize.Return(&p); err != nil {
		return err
	}
	b, err := s.balance(txn, x.Participant)
	if err != nil {
		return err
	}
	e := steps.Entry{Participant: x.Participant, Kind: steps.EntryRefund, Exchange: x.ID, Reason: x.Reason, By: x.By,
		Postings: ledger.Reverse(paid.Postings)}
	if err := w.post(&b, &e); err != nil {
		return err
	}
	x.Refund = e.Seq
	w.set(prizeKey(p.ID), appendPrize(nil, &p))
	return nil
}

// FindExchange returns an exchange.
func (s *Store) FindExchange(id steps.ExchangeID) (x steps.Exchange, err error) {
	err = s.db.View(func(txn *badger.Txn) (err error) {
		x, err = s.exchange(txn, id)
		return err
	})
	return x, err
}

// EachExchange calls fn for the exchanges in the order in which they were made.
func (s *Store) EachExchange(ctx context.Context, f steps.ExchangeFilter, fn func(steps.Exchange) error) error {
	pass := func(x steps.Exchange) error {
		if f.Prize != "" && x.Prize != f.Prize || f.State != 0 && x.State != f.State {
			return ctx.Err()
		}
		return cmp.Or(ctx.Err(), fn(x))
	}
	return s.db.View(func(txn *badger.Txn) error {
		if f.Participant == "" {
			return s.eachExchange(txn, pass)
		}
		return s.eachOwnEntry(txn, f.Participant, func(e *steps.Entry) error { // rather than all exchanges
			if e.Kind != steps.EntryExchange {
				return ctx.Err()
			}
			x, err := s.exchange(txn, e.Exchange)
			if err != nil {
				return err
			}
			return pass(x)
		})
	})
}

func (s *Store) eachExchange(txn *badger.Txn, fn func(steps.Exchange) error) error {
	return scan(txn, []byte{prefixExchange}, nil, true, func(key, value []byte) error {
		if len(key) != 9 {
			return corrupt("exchange", string(key), errKey)
		}
		id := steps.ExchangeID(binary.BigEndian.Uint64(key[1:]))
		body, err := s.auth.open(key, value)
		var x steps.Exchange
		if err == nil {
			x, err = parseExchange(body, id)
		}
		if err != nil {
			return corrupt("exchange", fmt.Sprint(id), err)
		}
		return fn(x)
	})
}
