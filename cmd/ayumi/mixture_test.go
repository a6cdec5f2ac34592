package main

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"sync"
	"testing"

	"ayumi/admin"
	"ayumi/registry"
	"ayumi/replay"
	"ayumi/steps"
	"ayumi/uplink"
)

// mixture loads a gateway with everything at once: a fleet's uploads by MQTT and HTTPS, which earn
// points, payloads that go to quarantine and are decided on, and changes of the registry. It knows
// what of all that was acknowledged.
type mixture struct {
	fleet   *fleet
	uploads *ledger
	send    replay.RunOptions
	office  script
	spoiler script
	secret  string // the spoiler's
}

// script is an endless sequence of operations, one after the other, so that what was acknowledged is
// a number: all before done. With doubt, the one at done was begun and its outcome is unknown.
type script struct {
	name  string
	done  int
	doubt bool
	err   error // why it stopped
}

const spoilerDevice = steps.DeviceID("spoiler")

// newMixture registers a fleet and the device that spoils its payloads.
func newMixture(t *testing.T, c *admin.Client, people, days int) *mixture {
	t.Helper()
	m := &mixture{fleet: crashFleet(t, c, people, days, 0), office: script{name: "office"}, spoiler: script{name: "spoiler"}}
	m.uploads = newLedger(m.fleet)
	secrets, err := enrolAll(t.Context(), c, []enrolment{{"spoiler", spoilerDevice, "app", today(t, c) - 30}})
	if err != nil {
		t.Fatal(err)
	}
	m.secret = secrets[spoilerDevice]
	m.send = sending(t, c, m.fleet)
	return m
}

// load runs everything against p, with at most so many uploads of each device, telling lit of each
// acknowledgement, until ctx ends or the gateway is gone. The returned function waits for that and
// keeps the account.
func (m *mixture) load(ctx context.Context, t *testing.T, p *process, uploads int, lit *fuse) (settle func()) {
	t.Helper()
	rest, index := m.uploads.rest()
	for i := range rest {
		rest[i].Sendings = rest[i].Sendings[:min(uploads, len(rest[i].Sendings))]
	}
	o := m.send
	o.OnAck, o.MQTTVersion = lit.acked, byte(4+m.office.done%2) //nolint:gosec // 4 or 5
	end := startReplay(ctx, o, rest)
	c := p.dial()
	post, err := uplink.NewHTTPS(uplink.HTTPSConfig{
		BaseURL: o.HTTPSURL, TLS: o.HTTPSTLS, Device: spoilerDevice, Secret: m.secret, Timeout: o.Timeout,
	})
	if err != nil {
		t.Fatal(err)
	}
	var scripts sync.WaitGroup
	scripts.Go(func() {
		m.office.run(ctx, lit, func(ctx context.Context, n int) error { return register(ctx, c, n) })
	})
	scripts.Go(func() {
		m.spoiler.run(ctx, lit, func(ctx context.Context, n int) error { return spoil(ctx, post, c, n) })
	})
	return func() {
		scripts.Wait()
		_ = post.Close() // frees idle connections only
		done := <-end
		m.uploads.note(&done.result, index)
		for _, s := range []*script{&m.office, &m.spoiler} {
			if steps.KindOf(s.err) != steps.Unavailable { // what a gateway answers that is gone or going
				t.Errorf("%s: operation %d: %v", s.name, s.done, s.err)
			}
		}
	}
}

// run performs operations until one fails.
func (s *script) run(ctx context.Context, lit *fuse, do func(ctx context.Context, n int) error) {
	for s.err = nil; s.err == nil; {
		s.doubt = true
		if s.err = do(ctx, s.done); s.err == nil {
			s.doubt = false
			s.done++
			lit.acked("", 0)
		}
	}
}

// Operation n of the office is one of four for person n/4.
func officePerson(n int) steps.ParticipantID {
	return steps.ParticipantID(fmt.Sprintf("office-%05d", n/4))
}
func officeDevice(n int) steps.DeviceID { return steps.DeviceID(fmt.Sprintf("office-%05d", n/4)) }

// officeBorn is before 1970, whose first day is day 0, which verify takes for none.
func officeBorn(n int) steps.Day { return steps.DateDay(1930+n/4%40, 1, 1) }

func register(ctx context.Context, c *admin.Client, n int) (err error) {
	switch n % 4 {
	case 0:
		_, err = c.AddParticipant(ctx, officePerson(n), nil)
	case 1:
		born := officeBorn(n)
		_, err = c.SetBorn(ctx, officePerson(n), &born)
	case 2:
		_, err = c.AddDevice(ctx, officeDevice(n), registry.Pedometer)
	case 3:
		_, err = c.Bind(ctx, officeDevice(n), officePerson(n), nil)
	}
	return err
}

// spoilt is payload n, now and then too large for one value of the store.
func spoilt(n int) []byte {
	if n%20 == 0 {
		return garbage(n, 600<<10)
	}
	return garbage(n, 40+n*7%500)
}

// garbage is no protobuf, and a different one for every n.
func garbage(n, size int) []byte {
	rng := rand.New(rand.NewPCG(uint64(n), 1))                                    //nolint:gosec // a test
	b := binary.BigEndian.AppendUint64([]byte{0xFF, 0xFF, 0xFF, 0xFF}, uint64(n)) //nolint:gosec // not negative
	for len(b) < size {
		b = binary.BigEndian.AppendUint64(b, rng.Uint64())
	}
	return b[:size]
}

func spoiltID(n int) steps.QuarantineID { return steps.NewQuarantineID(spoilerDevice, spoilt(n)) }

// spoil sends three payloads to quarantine and then has the first of them discarded.
func spoil(ctx context.Context, post *uplink.HTTPS, c *admin.Client, n int) error {
	if n%4 == 3 {
		_, err := c.Discard(ctx, spoiltID(n-3), "tester", "made up")
		return err
	}
	_, err := post.Post(ctx, spoilt(n), steps.Protobuf, false)
	if acknowledged(err) {
		return nil
	}
	return cmp.Or(err, fmt.Errorf("payload %d was taken for an upload", n))
}

// acknowledged reports whether a payload was answered as one that is kept in quarantine.
func acknowledged(err error) bool {
	var answer *uplink.Problem
	return errors.As(err, &answer) && answer.Status == http.StatusBadRequest
}

// verify looks for everything acknowledged in what the gateway holds, and for nothing else. The gateway
// settles what was in doubt.
func (m *mixture) verify(t *testing.T, p *process) {
	t.Helper()
	m.uploads.verify(t, readDays(t, p.dir))
	c := p.dial()
	born, bound := map[steps.ParticipantID]steps.Day{}, map[steps.DeviceID]steps.ParticipantID{}
	err := c.EachParticipant(t.Context(), func(p admin.Participant) error {
		born[p.ID] = 0
		if p.Born != nil {
			born[p.ID] = *p.Born
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = c.EachDevice(t.Context(), func(d admin.Device) error { bound[d.ID] = d.Participant; return nil })
	if err != nil {
		t.Fatal(err)
	}
	m.office.verify(t, func(n int) bool {
		person, known := born[officePerson(n)]
		participant, registered := bound[officeDevice(n)]
		return []bool{known, known && person == officeBorn(n), registered, participant == officePerson(n)}[n%4]
	})
	state := map[steps.QuarantineID]string{}
	err = c.EachQuarantined(t.Context(), steps.QuarantineFilter{}, func(q *admin.QuarantineEntry) error {
		state[q.ID] = q.State
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	m.spoiler.verify(t, func(n int) bool {
		if n%4 == 3 {
			return state[spoiltID(n-3)] == steps.Discarded.String()
		}
		return state[spoiltID(n)] != ""
	})
	t.Logf("%d changes of the registry, %d of the quarantine", m.office.done, m.spoiler.done)
}

// verify compares a script with what the gateway shows of it.
func (s *script) verify(t *testing.T, seen func(n int) bool) {
	t.Helper()
	for n := range s.done {
		if !seen(n) {
			t.Errorf("%s: operation %d of %d that were acknowledged is lost", s.name, n, s.done)
		}
	}
	if s.doubt && seen(s.done) {
		s.done++
	}
	s.doubt = false
	for n := s.done; n < s.done+8; n++ {
		if seen(n) {
			t.Errorf("%s: operation %d is there, and was never begun", s.name, n)
		}
	}
}

// finish uploads what is left, and stops a gateway that must then hold everything.
func (m *mixture) finish(t *testing.T, p *process) {
	t.Helper()
	rest, _ := m.uploads.rest()
	if done := <-startReplay(t.Context(), m.send, rest); done.err != nil {
		t.Fatal(done.err)
	}
	sameDays(t, readDays(t, p.dir), expected(m.fleet))
	p.signal()
	p.stopsWithin(stopLimit())
	soundStore(t, p.dir)
}

// mixtureConfig makes checkpoints frequent, so that faults find them.
const mixtureConfig = "  checkpoint_bytes: 16384\n  checkpoint_every: 1s\n  quarantine_per_device: 1000000\n" + noAllowances

// TestKillMixedLoad kills the gateway at random points under a load of every kind. After each kill
// the store is sound, and the gateway holds exactly what it had acknowledged.
func TestKillMixedLoad(t *testing.T) {
	t.Parallel()
	dir, rng, rounds := filepath.Join(t.TempDir(), "data"), dice(t), crashes(t)
	config := writeConfig(t, lastingPorts(t), mixtureConfig)
	p := serve(t, dir, config)
	m := newMixture(t, p.dial(), min(12+3*rounds, 150), 21)
	portion := m.fleet.want.Sendings/len(m.fleet.devices)/rounds + 1
	for round := range rounds {
		lit := newFuse(1 + rng.IntN(portion*len(m.fleet.devices)+100))
		ctx, cancel := context.WithCancel(t.Context())
		settle := m.load(ctx, t, p, portion, lit)
		<-lit.fired
		p.kill()
		cancel()
		settle()
		soundStore(t, dir)
		p = serve(t, dir, config)
		m.verify(t, p)
		t.Logf("kill %d of %d: nothing is lost", round+1, rounds)
		if t.Failed() {
			return
		}
	}
	m.finish(t, p)
}
