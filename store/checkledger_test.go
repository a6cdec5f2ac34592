package store

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"ayumi/steps"
)

// TestLedgerDamageIsReported changes one record at a time, under a valid tag, as a bug of ours would.
func TestLedgerDamageIsReported(t *testing.T) {
	r := start(t, testConfig(t.TempDir()))
	fillLedger(t, r)
	pd := steps.ParticipantDay{Participant: "p", Day: day0}
	for _, tc := range []struct {
		name   string
		damage func(txn *badger.Txn, w *writes) error
		want   string
	}{
		{"a balance has a point more", func(txn *badger.Txn, w *writes) error {
			b, err := r.balance(txn, "p")
			b.Periods[0].Available++
			w.set(balanceKey("p"), appendBalance(nil, &b))
			return err
		}, "sum to"},
		{"a balance is gone", func(_ *badger.Txn, w *writes) error { w.delete(balanceKey("q")); return nil }, "participant q has no balance"},
		{"a balance from nowhere", func(_ *badger.Txn, w *writes) error {
			w.set(balanceKey("z"), appendBalance(nil, &steps.Balance{Periods: []steps.PeriodBalance{{Period: "2026", Available: 1}}}))
			return nil
		}, "sum to"},
		{"an entry is gone", func(_ *badger.Txn, w *writes) error { w.delete(entryKey("p", 1)); return nil }, "number 2 follows 0"},
		{"an entry moves another amount", func(txn *badger.Txn, w *writes) error {
			e, err := r.entry(txn, "p", 1)
			e.Postings[0].Points++
			w.set(entryKey("p", 1), appendEntry(nil, &e))
			return err
		}, "account issued"},
		{"an entry that its kind does not allow", func(txn *badger.Txn, w *writes) error {
			e, err := r.entry(txn, "p", 1)
			e.Kind = steps.EntryExpiry
			w.set(entryKey("p", 1), appendEntry(nil, &e))
			return err
		}, "does not move points"},
		{"a request key is gone", func(_ *badger.Txn, w *writes) error { w.delete(requestKey("p", "b")); return nil }, "keys are known"},
		{"a request key names another entry", func(_ *badger.Txn, w *writes) error {
			w.set(requestKey("p", "b"), binary.AppendUvarint(nil, 2))
			return nil
		}, "was made for the request"},
		{"a page does not add up", func(txn *badger.Txn, w *writes) error {
			p, _, err := r.page(txn, pd)
			p.points++
			return errors.Join(err, r.setPage(txn, w, pd, &p))
		}, "its postings sum to"},
		{"a closed page earned more than became final", func(txn *badger.Txn, w *writes) error {
			p, _, err := r.page(txn, pd)
			p.append(pageLine{kind: steps.EntryAdjustment, delta: 1})
			p.points++
			return errors.Join(err, r.setPage(txn, w, pd, &p))
		}, "became final"},
		{"a correction that no entry makes", func(txn *badger.Txn, w *writes) error {
			p, _, err := r.page(txn, pd)
			p.append(pageLine{kind: steps.EntryCorrection, delta: 1, number: 9})
			p.points++
			return errors.Join(err, r.setPage(txn, w, pd, &p))
		}, "was corrected by 3 points, the entries say 2"},
		{"a closed page is gone", func(txn *badger.Txn, w *writes) error { return r.setPage(txn, w, pd, nil) }, "has no page"},
		{"a page is not where it belongs", func(txn *badger.Txn, w *writes) error {
			p, _, err := r.page(txn, pd)
			w.setSheet(sheetKey(day0, "a"), []sheetPage{{"p", p}})
			return err
		}, "is not where it belongs"},
		{"final points are gone", func(_ *badger.Txn, w *writes) error {
			w.delete(dayKey(prefixFinal, steps.ParticipantDay{Participant: "q", Day: day0}))
			return nil
		}, "none became final"},
		{"final points are other ones", func(_ *badger.Txn, w *writes) error {
			w.set(dayKey(prefixFinal, steps.ParticipantDay{Participant: "q", Day: day0}),
				appendFinals(nil, &steps.ClosedDay{Period: "2026"}, []final{{"p", 8, false}, {"q", 2, true}}))
			return nil
		}, "closed day"},
		{"an account has a point more", func(_ *badger.Txn, w *writes) error { w.moved[steps.AccountSpent]++; return nil }, "all accounts together have 1 points"},
		{"a prize is taken that nobody has", func(txn *badger.Txn, w *writes) error {
			p, _, err := r.prize(txn, "towel")
			p.Taken++
			w.set(prizeKey("towel"), appendPrize(nil, &p))
			return err
		}, "exchanges stand"},
		{"more are taken than there are", func(txn *badger.Txn, w *writes) error {
			p, _, err := r.prize(txn, "towel")
			p.Stock = 0
			w.set(prizeKey("towel"), appendPrize(nil, &p))
			return err
		}, "exchanges stand"},
		{"a prize is gone", func(_ *badger.Txn, w *writes) error { w.delete(prizeKey("towel")); return nil }, "not in the catalogue"},
		{"an exchange is gone", func(_ *badger.Txn, w *writes) error { w.delete(exchangeKey(1)); return nil }, "exchange 2 follows 0"},
		{"an exchange cost less", func(txn *badger.Txn, w *writes) error {
			x, err := r.exchange(txn, 1)
			x.Price--
			w.set(exchangeKey(1), appendExchange(nil, &x))
			return err
		}, "paid 10 points"},
		{"an exchange was cancelled without a refund", func(txn *badger.Txn, w *writes) error {
			x, err := r.exchange(txn, 1)
			x.State = steps.ExchangeCancelled
			w.set(exchangeKey(1), appendExchange(nil, &x))
			return err
		}, "refund"},
		{"late data of a day that is open", func(txn *badger.Txn, w *writes) error {
			w.set(dayKey(prefixLate, steps.ParticipantDay{Participant: "p", Day: day0 + 1}), appendLate(nil, &steps.LateDay{Points: 9}))
			return nil
		}, "is listed with"},
		{"an entry is cut", func(_ *badger.Txn, w *writes) error { w.set(entryKey("p", 1), []byte{entryVersion, 5}); return nil }, "unexpected EOF"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			broken := openImage(t, r)
			err := broken.db.Update(func(txn *badger.Txn) error {
				w := &writes{s: broken.Store}
				if err := tc.damage(txn, w); err != nil {
					return err
				}
				return w.apply(txn)
			})
			if err != nil {
				t.Fatal(err)
			}
			report, err := broken.Check(context.Background(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if all := strings.Join(report.Problems, "\n"); !strings.Contains(all, tc.want) {
				t.Errorf("reported: %q; want %q", all, tc.want)
			}
			broken.abandon()
		})
	}
}

// fillLedger makes one of everything.
func fillLedger(t *testing.T, r *running) {
	t.Helper()
	ctx := context.Background()
	for i, p := range []steps.ParticipantID{"p", "q"} {
		r.upload(p, day0, 1, uint32(8000-5000*i))
		r.upload(p, day0+1, 1, 6000)
	}
	r.score("x@1", perThousand)
	r.closeDay(day0, "q")
	r.post("p", "b", steps.EntryBonus, 30)
	r.putPrize(towel(2))
	for _, key := range []steps.RequestKey{"x1", "x2"} {
		if _, err := r.Exchange(ctx, want("p", key)); err != nil {
			t.Fatal(err)
		}
	}
	_, err := r.ChangeExchange(ctx, steps.ExchangeChange{ID: 2, State: steps.ExchangeCancelled, By: "me", Reason: "why"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.Post(ctx, steps.EntryRequest{Participant: "p", Key: "c", Kind: steps.EntryCorrection, Account: steps.AccountAvailable,
		Period: "2026", Points: 2, Day: day0, Reason: "why", By: "me"})
	if err != nil {
		t.Fatal(err)
	}
	r.upload("q", day0, 2, 5000)
	r.score("x@1", perThousand)
}

// openImage starts a store on a copy of another's files.
func openImage(t *testing.T, r *running) *running {
	t.Helper()
	return start(t, testConfig(r.image()))
}

// abandon stops a store without the check that must hold for others.
func (r *running) abandon() {
	r.t.Helper()
	r.stop()
	r.stop = nil
	if err := <-r.ran; err != nil {
		r.t.Errorf("Run: %v", err)
	}
	if err := r.Close(); err != nil {
		r.t.Errorf("Close: %v", err)
	}
}
