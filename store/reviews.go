package store

import (
	"context"
	"encoding/binary"
	"math"

	"github.com/dgraph-io/badger/v4"

	"ayumi/plausibility"
	"ayumi/review"
	"ayumi/steps"
)

const reviewVersion = 1

func appendReview(dst []byte, r *review.Review) []byte {
	dst = append(dst, reviewVersion, byte(r.State))
	dst = binary.AppendVarint(dst, r.FoundAt)
	dst = binary.AppendVarint(dst, r.LookedAt)
	dst = binary.AppendUvarint(dst, r.Steps)
	dst = binary.AppendUvarint(dst, uint64(r.Score)) //nolint:gosec // 0 to 100
	dst = binary.AppendUvarint(dst, uint64(len(r.Flags)))
	for i := range r.Flags {
		dst = appendFlag(dst, &r.Flags[i])
	}
	dst = binary.AppendUvarint(dst, uint64(len(r.Events)))
	for i := range r.Events {
		e := &r.Events[i]
		dst = append(dst, byte(e.Kind))
		dst = binary.AppendVarint(dst, e.At)
		dst = appendString(dst, e.By)
		dst = appendString(dst, e.Text)
		dst = binary.AppendUvarint(dst, e.Entry)
	}
	return dst
}

func appendFlag(dst []byte, f *plausibility.Flag) []byte {
	dst = append(dst, byte(f.Kind), boolByte(f.Exact))
	for _, n := range [...]int{f.Score, f.From, f.To} {
		dst = binary.AppendVarint(dst, int64(n))
	}
	for _, x := range [...]float64{f.Figure, f.Limit, f.Shift} {
		dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(x))
	}
	dst = binary.AppendVarint(dst, int64(f.Other.Day))
	return appendString(dst, string(f.Other.Participant))
}

func boolByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func parseReview(body []byte, pd steps.ParticipantDay) (v review.Review, err error) {
	r := reader{b: body}
	if r.byte() != reviewVersion {
		r.fail()
	}
	v.ParticipantDay, v.State = pd, review.State(r.byte())
	v.FoundAt, v.LookedAt, v.Steps, v.Score = r.varint(), r.varint(), r.uvarint(), r.count(100)
	for range r.count(len(r.b)) {
		v.Flags = append(v.Flags, r.flag())
	}
	for range r.count(len(r.b)) {
		v.Events = append(v.Events, review.Event{
			Kind: review.EventKind(r.byte()), At: r.varint(), By: r.string(), Text: r.string(), Entry: r.uvarint(),
		})
	}
	return v, r.done()
}

func (r *reader) flag() (f plausibility.Flag) {
	f.Kind, f.Exact = plausibility.Kind(r.byte()), r.byte() == 1
	f.Score, f.From, f.To = int(r.varint()), int(r.varint()), int(r.varint())
	f.Figure, f.Limit, f.Shift = r.float(), r.float(), r.float()
	f.Other.Day = steps.Day(r.varint()) //nolint:gosec // written from one
	f.Other.Participant = steps.ParticipantID(r.string())
	return f
}

func (r *reader) float() float64 {
	if len(r.b) < 8 {
		r.fail()
		return 0
	}
	x := math.Float64frombits(binary.LittleEndian.Uint64(r.b))
	r.b = r.b[8:]
	return x
}

// review reads the review of a participant-day, nil if there is none.
func (s *Store) review(txn *badger.Txn, pd steps.ParticipantDay) (*review.Review, error) {
	body, err := s.getSealed(txn, "review", dayKey(prefixReview, pd), nameOf(pd))
	if err != nil || body == nil {
		return nil, err
	}
	v, err := parseReview(body, pd)
	if err != nil {
		return nil, corrupt("review", nameOf(pd), err)
	}
	return &v, nil
}

// Review returns the review of a participant-day. It is NotFound where nothing was flagged.
func (s *Store) Review(pd steps.ParticipantDay) (r review.Review, err error) {
	err = s.db.View(func(txn *badger.Txn) error {
		v, err := s.knownReview(txn, "look up review", pd)
		if err == nil {
			r = *v
		}
		return err
	})
	return r, err
}

func (s *Store) knownReview(txn *badger.Txn, op string, pd steps.ParticipantDay) (*review.Review, error) {
	v, err := s.review(txn, pd)
	if err == nil && v == nil {
		err = steps.Errorf(op, steps.NotFound, "nothing was flagged on %s of %s; list the reviews", pd.Day, pd.Participant)
	}
	return v, err
}

// EachReview calls fn for the reviews that f lets through, in the order of day and participant.
func (s *Store) EachReview(ctx context.Context, f review.Filter, fn func(*review.Review) error) error {
	err := s.db.View(func(txn *badger.Txn) error {
		return scan(txn, []byte{prefixReview}, appendDay([]byte{prefixReview}, f.Days.From), true, func(key, value []byte) error {
			pd, ok := splitDayKey(key)
			if !ok || !f.Days.Contains(pd.Day) {
				return errStop
			}
			body, err := s.auth.open(key, value)
			var v review.Review
			if err == nil {
				v, err = parseReview(body, pd)
			}
			if err != nil {
				return corrupt("review", nameOf(pd), err)
			}
			if err := ctx.Err(); err != nil || !f.Wants(&v) {
				return err
			}
			return fn(&v)
		})
	})
	if err == errStop {
		return nil
	}
	return err
}

// reviewBytes is about what a review adds to a transaction besides its texts.
const reviewBytes = 1 << 10

// NoteReviews brings the reviews of days up to what was found, by the rules of the review room, and returns those
// that changed. The findings have to fit into one transaction: a few hundred.
func (s *Store) NoteReviews(ctx context.Context, found []review.Finding) (changed []review.Review, err error) {
	err = s.change(ctx, reviewBytes*len(found), func(txn *badger.Txn) error {
		w := &writes{s: s}
		changed = nil
		for i := range found {
			f := &found[i]
			old, err := s.review(txn, f.ParticipantDay)
			if err != nil {
				return err
			}
			_, fixed, err := s.closedDay(txn, f.Day)
			if err != nil {
				return err
			}
			switch v := review.Note(old, f, fixed, s.cfg.Clock().Unix()); {
			case v == old:
			case v == nil:
				w.delete(dayKey(prefixReview, f.ParticipantDay))
			default:
				w.set(dayKey(prefixReview, f.ParticipantDay), appendReview(nil, v))
				changed = append(changed, *v)
			}
		}
		return w.apply(txn)
	}, nil)
	if err != nil {
		return nil, err
	}
	return changed, nil
}

// DecideReview records staff's decision on a flagged day: d is a Clearing or an Upholding with who and why; its
// time and entry are filled in. When a Clearing finds the day's points held, it releases what is left of them in
// the same transaction. The same decision again is answered with the review as it is. It is Unavailable while the
// day is being closed.
func (s *Store) DecideReview(ctx context.Context, pd steps.ParticipantDay, d review.Event) (review.Review, error) {
	return s.changeReview(ctx, "decide on review", pd, d, func(txn *badger.Txn, w *writes, v *review.Review) (again bool, err error) {
		d.At, d.Entry = s.cfg.Clock().Unix(), 0
		if again, err = review.Decide(v, d); again || err != nil || d.Kind != review.Clearing {
			return again, err
		}
		return false, s.releaseHeld(txn, w, v)
	})
}

// AppealReview records that the participant does not agree with an Upholding, in their own words.
func (s *Store) AppealReview(ctx context.Context, pd steps.ParticipantDay, d review.Event) (review.Review, error) {
	return s.changeReview(ctx, "appeal", pd, d, func(txn *badger.Txn, _ *writes, v *review.Review) (bool, error) {
		d.At, d.Entry = s.cfg.Clock().Unix(), 0
		_, closed, err := s.closedDay(txn, pd.Day)
		if err != nil {
			return false, err
		}
		f, found, err := s.finalOf(txn, pd)
		if err != nil {
			return false, err
		}
		return review.Contest(v, d, !closed || found && f.Postings[0].To == steps.AccountPending)
	})
}

// changeReview lets fn change a review, on the committer.
func (s *Store) changeReview(ctx context.Context, op string, pd steps.ParticipantDay, d review.Event,
	fn func(*badger.Txn, *writes, *review.Review) (again bool, err error),
) (out review.Review, err error) {
	size := reviewBytes + entryBytes + 2*(len(d.By)+len(d.Text))
	err = s.change(ctx, size, func(txn *badger.Txn) error {
		v, err := s.knownReview(txn, op, pd)
		if err != nil {
			return err
		}
		day, found, err := s.closedDay(txn, pd.Day)
		if err != nil {
			return err
		}
		if found && day.State != steps.DayClosed {
			return steps.Errorf(op, steps.Unavailable, "%s is being closed; try again when it is", pd.Day)
		}
		w := &writes{s: s}
		again, err := fn(txn, w, v)
		if err != nil {
			return err
		}
		out = *v
		if again {
			return nil
		}
		w.set(dayKey(prefixReview, pd), appendReview(nil, v))
		return w.apply(txn)
	}, nil)
	if err != nil {
		return review.Review{}, err
	}
	return out, nil
}

// releaseHeld lets the points of a cleared day go, as far as they are held and not corrected away or released by
// staff otherwise, and notes the entry in the decision.
func (s *Store) releaseHeld(txn *badger.Txn, w *writes, v *review.Review) error {
	f, found, err := s.finalOf(txn, v.ParticipantDay)
	if err != nil || !found || f.Postings[0].To != steps.AccountPending {
		return err
	}
	p, _, err := s.page(txn, v.ParticipantDay)
	if err != nil {
		return err
	}
	b, err := s.balance(txn, v.Participant)
	if err != nil {
		return err
	}
	period := f.Postings[0].Period
	n := min(f.Postings[0].Points, p.points, b.Of(period).Pending)
	if n <= 0 {
		return nil
	}
	e, err := review.Release(v, period, n)
	if err == nil {
		err = w.post(&b, e)
	}
	if err != nil {
		return err
	}
	v.Events[len(v.Events)-1].Entry = e.Seq
	return nil
}
