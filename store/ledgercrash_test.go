package store

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"ayumi/review"
	"ayumi/steps"
)

// bookEnv, set in the environment, names a directory in which this binary keeps books instead of running
// tests, from the step in bookStepEnv on.
const (
	bookEnv     = "AYUMI_STORE_BOOK"
	bookStepEnv = "AYUMI_STORE_BOOK_STEP"
)

// bookPeople is more than fit into one transaction of a closing.
const bookPeople = pieceKeys + 900

// bookStep is one thing that is asked of the ledger. Doing it again when it is in doubt whether it was
// done is harmless.
type bookStep func(s *Store, say func(string)) error

// bookSteps is the life of a small programme.
func bookSteps() (all []bookStep) {
	all = append(all, func(s *Store, _ func(string)) error {
		_, err := s.PutPrize(context.Background(), towel(20))
		return err
	})
	for d := range steps.Day(2) {
		day := day0 + d
		all = append(all,
			func(s *Store, _ func(string)) error { return reportAll(s, day) },
			func(s *Store, say func(string)) error { return scoreAll(s, say) },
			func(s *Store, _ func(string)) error { return flagBook(s, day) },
			func(s *Store, say func(string)) error { return closeBook(s, day, say) },
			func(s *Store, say func(string)) error { return decideBook(s, day, say) })
		for i := range 12 {
			all = append(all, func(s *Store, _ func(string)) error { return bookEntry(s, int(d), i) })
		}
		all = append(all,
			func(s *Store, _ func(string)) error { return report(s, many(int(d)), day, 2, 9000) }, // late
			func(s *Store, say func(string)) error { return scoreAll(s, say) })
	}
	return append(all, func(s *Store, _ func(string)) error {
		period := periods()[0]
		_, err := s.Expire(context.Background(), period, period.Expires+1)
		return err
	})
}

func report(s *Store, p steps.ParticipantID, day steps.Day, revision uint64, n uint32) error {
	run := minutes(string(p), "d-"+string(p), revision, 0, n)
	run.Day = day
	return commitNow(s, payload(run))
}

func commitNow(s *Store, c *steps.Commit) error {
	w := waiter{c, make(chan error, 1)}
	if err := s.Append(context.Background(), c, nil, w); err != nil {
		return err
	}
	return <-w.result
}

func reportAll(s *Store, day steps.Day) error {
	var runs []testRun
	for i := range bookPeople {
		run := minutes(string(many(i)), "d-"+string(many(i)), 1, 0, uint32(1000*(1+i%7)))
		run.Day = day
		runs = append(runs, run)
	}
	return commitNow(s, payload(runs...))
}

func scoreAll(s *Store, say func(string)) error {
	for {
		days, err := dirtyDays(s, 1000)
		if err != nil || len(days) == 0 {
			return err
		}
		awards := make([]steps.Award, len(days))
		for i, d := range days {
			awards[i] = d.award(perThousand(d.Steps), "x@1")
		}
		if err := s.PutAwards(context.Background(), awards); err != nil {
			return err
		}
		say("scored")
	}
}

// closeBook closes a day as a scheduler does: it has what waits scored and asks again.
func closeBook(s *Store, day steps.Day, say func(string)) error {
	n := 0
	request := steps.CloseRequest{Day: day, Period: "2026", By: "test", Held: func(p steps.ParticipantID) bool {
		if n++; n%500 == 0 {
			say("closing")
		}
		return p[len(p)-1] == '3'
	}}
	for {
		_, err := s.CloseDay(context.Background(), request)
		if steps.KindOf(err) != steps.Unavailable || err == nil {
			return err
		}
		if err := scoreAll(s, say); err != nil {
			return err
		}
	}
}

// flagBook flags the day of six people, and holds every other one.
func flagBook(s *Store, day steps.Day) error {
	var found []review.Finding
	for i := range 6 {
		found = append(found, finding(many(40+i), day, i%2 == 0))
	}
	_, err := s.NoteReviews(context.Background(), found)
	return err
}

// decideBook decides on them, and one appeals and is cleared by a second decision.
func decideBook(s *Store, day steps.Day, say func(string)) error {
	ctx := context.Background()
	for i := range 6 {
		pd := steps.ParticipantDay{Participant: many(40 + i), Day: day}
		v, err := s.Review(pd)
		if err != nil {
			return err
		}
		d := review.Event{Kind: review.Clearing, By: "me", Text: "looked at"}
		if i == 4 && len(v.Events) == 0 {
			d.Kind = review.Upholding
			if v, err = s.DecideReview(ctx, pd, d); err != nil {
				return err
			}
		}
		if i == 4 && v.State == review.Upheld {
			if _, err := s.AppealReview(ctx, pd, review.Event{By: "me", Text: "I walked"}); err != nil {
				return err
			}
			say("appealed")
		}
		d.Kind = review.Clearing
		if i == 5 {
			d.Kind = review.Upholding
		}
		if _, err := s.DecideReview(ctx, pd, d); err != nil {
			return err
		}
		say("decided")
	}
	return nil
}

// bookEntry makes one entry of a kind that i chooses. Refusals are part of the script.
func bookEntry(s *Store, d, i int) error {
	ctx := context.Background()
	p, key := many(10+i), steps.RequestKey(fmt.Sprintf("%d-%d", d, i))
	r := steps.EntryRequest{Participant: p, Key: key, Period: "2026", Points: steps.Points(1 + i), Reason: "why", By: "me"}
	var err error
	switch i % 6 {
	case 0, 1:
		r.Kind = steps.EntryBonus
		_, err = s.Post(ctx, r)
	case 2:
		r.Kind, r.Points = steps.EntryHold, 1
		_, err = s.Post(ctx, r)
	case 3:
		r.Kind, r.Account, r.Day, r.Points, r.Participant = steps.EntryCorrection, steps.AccountAvailable, day0+steps.Day(d), 2, many(d)
		_, err = s.Post(ctx, r)
	case 4:
		for _, i := range []int{11, 16} {
			if _, err = s.Exchange(ctx, want(many(i), key)); err != nil {
				break
			}
		}
	case 5:
		_, err = s.ChangeExchange(ctx, steps.ExchangeChange{ID: steps.ExchangeID(d + 1), State: steps.ExchangeCancelled, By: "me", Reason: "why"})
	}
	if kind := steps.KindOf(err); err != nil && (kind == steps.Conflict || kind == steps.NotFound) {
		return nil
	}
	return err
}

// keepBooks is the process that is killed: it says which steps are done.
func keepBooks(dir string) error {
	go func() { // the test holds the other end: nothing outlives it
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(3)
	}()
	first, err := strconv.Atoi(os.Getenv(bookStepEnv))
	if err != nil {
		return err
	}
	s, err := Open(testConfig(dir), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	for i, step := range bookSteps() {
		if i < first {
			continue
		}
		if err := step(s, func(what string) { fmt.Println(what) }); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
		fmt.Println("done", i)
	}
	stop()
	if err := <-ran; err != nil {
		return err
	}
	return s.Close()
}

// TestKilledBookkeeper kills the process that keeps the books with SIGKILL, over and over, in the middle
// of scoring, closing and exchanging, and lets the next one go on. In the end the ledger is the same, line
// by line, as one that was never interrupted.
func TestKilledBookkeeper(t *testing.T) {
	whole := start(t, testConfig(filepath.Join(t.TempDir(), "whole")))
	for i, step := range bookSteps() {
		if err := step(whole.Store, func(string) {}); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
	}
	cfg := testConfig(filepath.Join(t.TempDir(), "killed"))
	rng := newRand(uint64(os.Getpid()))
	next, kills := 0, 0
	for next < len(bookSteps()) {
		done, killed := runBookkeeper(t, cfg.Dir, next, 3+rng.IntN(20))
		next = done
		if !killed {
			continue
		}
		kills++
		start(t, cfg).end() // opens, and everything holds
	}
	t.Logf("killed %d times", kills)
	if kills == 0 {
		t.Error("the process was never killed")
	}
	r := start(t, cfg)
	sameBooks(t, r, whole)
}

// runBookkeeper runs a process from a step on, kills it after it has said so many lines, and returns the
// first step that is not known to be done.
func runBookkeeper(t *testing.T, dir string, first, lines int) (next int, killed bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), bookEnv+"="+dir, bookStepEnv+"="+strconv.Itoa(first))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	next = first
	scanner := bufio.NewScanner(out)
	for n := 1; scanner.Scan(); n++ {
		if step, ok := strings.CutPrefix(scanner.Text(), "done "); ok {
			if next, err = strconv.Atoi(step); err != nil {
				t.Fatal(err)
			}
			next++
		}
		if n == lines && !killed {
			killed = true
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err != nil && !killed {
		t.Fatalf("the process failed by itself: %v", err)
	}
	return next, killed
}

// sameBooks compares two ledgers but for the times.
func sameBooks(t *testing.T, a, b *running) {
	t.Helper()
	for i := range bookPeople {
		if i > 50 && i%97 != 0 {
			continue
		}
		got, want := a.lines(many(i)), b.lines(many(i))
		for _, lines := range [][]steps.Entry{got, want} {
			for j := range lines {
				lines[j].At = 0
			}
			slices.SortStableFunc(lines, func(x, y steps.Entry) int {
				return cmp.Or(cmp.Compare(x.Seq, y.Seq), cmp.Compare(x.Day, y.Day))
			})
		}
		if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); g != w {
			t.Fatalf("%s: %s; want %s", many(i), g, w)
		}
	}
	if g, w := books(t, a), books(t, b); g != w {
		t.Errorf("the books are %s\nwant %s", g, w)
	}
}

// books writes down balances, late days, exchanges, reviews and the trial balance.
func books(t *testing.T, r *running) string {
	t.Helper()
	var text strings.Builder
	ctx := context.Background()
	err := r.EachBalance(ctx, func(b *steps.Balance) error {
		if b.Entries > 0 || b.Pending() > 0 {
			fmt.Fprintf(&text, "%+v\n", *b)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range r.lateDays(steps.LateFilter{}) {
		l.At = 0
		fmt.Fprintf(&text, "%+v\n", l)
	}
	err = r.EachExchange(ctx, steps.ExchangeFilter{}, func(x steps.Exchange) error {
		x.At, x.ChangedAt = 0, 0
		fmt.Fprintf(&text, "%+v\n", x)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	reviews := 0
	err = r.EachReview(ctx, review.Filter{}, func(v *review.Review) error {
		reviews++
		fmt.Fprintf(&text, "%+v %s", v.ParticipantDay, v.State)
		for _, e := range v.Events {
			fmt.Fprintf(&text, " %s %d", e.Kind, e.Entry)
		}
		fmt.Fprintln(&text)
		return nil
	})
	if err != nil || reviews != 12 {
		t.Fatalf("%d reviews, %v", reviews, err)
	}
	totals, err := r.Totals(ctx)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(&text, totals)
	return text.String()
}
