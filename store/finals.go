package store

import (
	"encoding/binary"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"ayumi/steps"
)

const finalsVersion = 1

// appendFinals encodes a chunk: what many participants got when a day was closed, in order of their
// IDs, each of which is given as far as it differs from the one before.
func appendFinals(dst []byte, day *steps.ClosedDay, finals []final) []byte {
	dst = append(dst, finalsVersion)
	dst = binary.AppendVarint(dst, day.At)
	dst = appendString(dst, string(day.Period))
	dst = binary.AppendUvarint(dst, uint64(len(finals)))
	before := steps.ParticipantID("")
	for i := range finals {
		f := &finals[i]
		dst = appendShared(dst, before, f.participant)
		amount := uint64(f.points) << 1
		if f.held {
			amount |= 1
		}
		dst = binary.AppendUvarint(dst, amount)
		before = f.participant
	}
	return dst
}

// eachFinal decodes a chunk. The participant is valid during the call only.
func eachFinal(body []byte, fn func(participant []byte, points steps.Points, held bool) error) (at int64, period steps.PeriodID, err error) {
	r := reader{b: body}
	if r.byte() != finalsVersion {
		r.fail()
	}
	at, period = r.varint(), steps.PeriodID(r.string())
	var participant []byte
	for range r.count(len(r.b)) {
		participant = r.shared(participant)
		amount := r.uvarint()
		if r.err != nil {
			break
		}
		if err := fn(participant, steps.Points(amount>>1), amount&1 != 0); err != nil {
			return at, period, err
		}
	}
	return at, period, r.done()
}

// finalOf returns what a participant got when a day was closed, as a line of the ledger; found is false
// if that was nothing.
func (s *Store) finalOf(txn *badger.Txn, pd steps.ParticipantDay) (e steps.Entry, found bool, err error) {
	prefix := appendDay([]byte{prefixFinal}, pd.Day)
	err = scan(txn, prefix, dayKey(prefixFinal, pd), true, func(key, value []byte) error {
		body, err := s.auth.open(key, value)
		if err != nil {
			return corrupt("final points", nameOf(pd), err)
		}
		var points steps.Points
		account := steps.AccountAvailable
		at, period, err := eachFinal(body, func(p []byte, n steps.Points, held bool) error {
			if string(p) != string(pd.Participant) {
				return nil
			}
			points, found = n, true
			if held {
				account = steps.AccountPending
			}
			return nil
		})
		if err != nil {
			return corrupt("final points", nameOf(pd), fmt.Errorf("chunk up to %s: %w", key[5:], err))
		}
		e = steps.Entry{Participant: pd.Participant, Kind: steps.EntryFinal, At: at, Day: pd.Day,
			Postings: []steps.Posting{{From: steps.AccountProvisional, To: account, Period: period, Points: points}}}
		return errStop // a chunk is kept under its last participant
	})
	if err == errStop {
		err = nil
	}
	return e, found, err
}
