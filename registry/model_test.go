package registry

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"ayumi/steps"
)

const modelDays = 30 // the window of days in which the model looks at every day by itself

// modelDevice is a device day by day: whose steps it counts on each day of the window.
type modelDevice struct {
	kind       Kind
	secret     string
	revoked    bool
	generation uint64
	owner      [modelDays]steps.ParticipantID
	open       bool // bound without end
	openFrom   int
	ended      int // last day given to the last unbinding that ended a binding
}

// model is the registry as plain maps.
type model struct {
	born    map[steps.ParticipantID]*steps.Day
	devices map[steps.DeviceID]*modelDevice
}

func (m *model) bind(id steps.DeviceID, p steps.ParticipantID, from int) steps.Kind {
	const fine = steps.Kind(255)
	d := m.devices[id]
	_, known := m.born[p]
	switch {
	case d == nil, !known:
		return steps.NotFound
	case d.kind == Reader:
		return steps.Invalid
	case d.revoked:
		return steps.Conflict
	case d.open && d.owner[d.openFrom] == p && d.openFrom <= from:
		return fine
	case d.open && from <= d.openFrom:
		return steps.Conflict
	}
	if !d.open {
		for day := from; day < modelDays; day++ {
			if d.owner[day] != "" {
				return steps.Conflict
			}
		}
	}
	for day := from; day < modelDays; day++ {
		d.owner[day] = p
	}
	d.open, d.openFrom, d.ended = true, from, -1
	return fine
}

func (m *model) unbind(id steps.DeviceID, last int) steps.Kind {
	const fine = steps.Kind(255)
	d := m.devices[id]
	switch {
	case d == nil:
		return steps.NotFound
	case !d.open && d.ended == last:
		return fine
	case !d.open, last < d.openFrom-1:
		return steps.Conflict
	}
	for day := last + 1; day < modelDays; day++ {
		d.owner[day] = ""
	}
	d.open, d.ended = false, last
	return fine
}

// machine drives the registry and the model with the same operations.
type machine struct {
	rec   *memory
	cfg   Config
	r     *Registry
	m     model
	first steps.Day
	old   []steps.Identity // every identity that was ever obtained
}

func TestRegistryAgainstModel(t *testing.T) {
	cfg := testConfig(t)
	rapid.Check(t, func(t *rapid.T) {
		x := &machine{rec: newMemory(), cfg: cfg, first: today - modelDays/2,
			m: model{born: map[steps.ParticipantID]*steps.Day{}, devices: map[steps.DeviceID]*modelDevice{}}}
		x.reopen(t)
		t.Repeat(map[string]func(*rapid.T){
			"":               x.check,
			"reopen":         x.reopen,
			"addParticipant": x.addParticipant,
			"setBorn":        x.setBorn,
			"addDevice":      x.addDevice,
			"rotate":         x.rotate,
			"revoke":         x.revoke,
			"restore":        x.restore,
			"bind":           x.bind,
			"unbind":         x.unbind,
			"provision":      x.provision,
		})
	})
}

func drawDevice(t *rapid.T) steps.DeviceID {
	return steps.DeviceID(fmt.Sprintf("d%d", rapid.IntRange(0, 4).Draw(t, "device")))
}

func drawParticipant(t *rapid.T) steps.ParticipantID {
	return steps.ParticipantID(fmt.Sprintf("p%d", rapid.IntRange(0, 3).Draw(t, "participant")))
}

func drawBorn(t *rapid.T) *steps.Day {
	if !rapid.Bool().Draw(t, "known") {
		return nil
	}
	d := steps.Day(rapid.IntRange(-2, 2).Draw(t, "born")) // around 1970-01-01
	return &d
}

// expect compares an operation's error with the model's answer.
func expect(t *rapid.T, err error, want steps.Kind) {
	t.Helper()
	if want == 255 && err != nil {
		t.Fatalf("refused: %v", err)
	}
	if want != 255 && (err == nil || steps.KindOf(err) != want) {
		t.Fatalf("error %v, want %s", err, want)
	}
}

func (x *machine) reopen(t *rapid.T) {
	r, err := Open(x.rec, x.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if x.r != nil {
		sameRegistry(t, x.r, r)
	}
	x.r = r
}

func (x *machine) addParticipant(t *rapid.T) {
	id, born := drawParticipant(t), drawBorn(t)
	want := steps.Kind(255)
	if _, known := x.m.born[id]; known {
		want = steps.Conflict
	} else {
		x.m.born[id] = born
	}
	expect(t, x.r.AddParticipant(context.Background(), Participant{ID: id, Born: born}), want)
}

func (x *machine) setBorn(t *rapid.T) {
	id, born := drawParticipant(t), drawBorn(t)
	want := steps.NotFound
	if _, known := x.m.born[id]; known {
		x.m.born[id], want = born, 255
	}
	expect(t, x.r.UpdateParticipant(context.Background(), id, born), want)
}

func (x *machine) addDevice(t *rapid.T) {
	id, kind := drawDevice(t), Kind(rapid.IntRange(1, 3).Draw(t, "kind"))
	secret, err := x.r.AddDevice(context.Background(), Device{ID: id, Kind: kind})
	if x.m.devices[id] != nil {
		expect(t, err, steps.Conflict)
		return
	}
	expect(t, err, 255)
	x.m.devices[id] = &modelDevice{kind: kind, secret: secret.Reveal(), generation: 1, ended: -1}
}

func (x *machine) rotate(t *rapid.T) {
	id := drawDevice(t)
	secret, err := x.r.RotateSecret(context.Background(), id)
	d := x.m.devices[id]
	if d == nil {
		expect(t, err, steps.NotFound)
		return
	}
	expect(t, err, 255)
	d.secret = secret.Reveal()
	d.generation++
}

func (x *machine) revoke(t *rapid.T) {
	id := drawDevice(t)
	want := steps.NotFound
	if d := x.m.devices[id]; d != nil {
		want = 255
		if !d.revoked {
			d.revoked = true
			d.generation++
		}
	}
	expect(t, x.r.Revoke(context.Background(), id), want)
}

func (x *machine) restore(t *rapid.T) {
	id := drawDevice(t)
	want := steps.NotFound
	if d := x.m.devices[id]; d != nil {
		want, d.revoked = 255, false
	}
	expect(t, x.r.Restore(context.Background(), id), want)
}

func (x *machine) bind(t *rapid.T) {
	id, p, from := drawDevice(t), drawParticipant(t), rapid.IntRange(0, modelDays-1).Draw(t, "from")
	err := x.r.Bind(context.Background(), id, p, x.first+steps.Day(from))
	expect(t, err, x.m.bind(id, p, from))
}

func (x *machine) unbind(t *rapid.T) {
	id, last := drawDevice(t), rapid.IntRange(-1, modelDays-1).Draw(t, "last")
	d := x.m.devices[id]
	never := d != nil && !d.open && d.ended == -1 && !slices.ContainsFunc(d.owner[:], func(p steps.ParticipantID) bool { return p != "" })
	if never && len(x.r.Bindings(id)) == 0 {
		expect(t, x.r.Unbind(context.Background(), id, x.first+steps.Day(last)), steps.Conflict)
		return
	}
	err := x.r.Unbind(context.Background(), id, x.first+steps.Day(last))
	expect(t, err, x.m.unbind(id, last))
}

// provision gives one line for a device that may or may not exist.
func (x *machine) provision(t *rapid.T) {
	id, p, from := drawDevice(t), drawParticipant(t), rapid.IntRange(0, modelDays-1).Draw(t, "from")
	file := fmt.Sprintf("device,participant,from\r\n%s,%s,%s\r\n", id, p, x.first+steps.Day(from))
	dry := rapid.Bool().Draw(t, "dry")
	var secret Secret
	_, err := x.r.Provision(context.Background(), bytesReader(file), ProvisionOptions{DryRun: dry}, func(ps []Provisioned) error {
		secret = ps[0].Secret
		return nil
	})
	if x.m.devices[id] != nil {
		expect(t, err, steps.Conflict)
		return
	}
	expect(t, err, 255)
	if dry {
		return
	}
	if _, known := x.m.born[p]; !known {
		x.m.born[p] = nil
	}
	x.m.devices[id] = &modelDevice{kind: Pedometer, secret: secret.Reveal(), generation: 1, ended: -1}
	x.m.bind(id, p, from)
}

// check compares everything that can be asked.
func (x *machine) check(t *rapid.T) {
	ids := slices.Sorted(maps.Keys(x.m.devices))
	if got := x.r.Devices("", 0); len(got) != len(ids) {
		t.Fatalf("%d devices, want %d", len(got), len(ids))
	}
	of := map[steps.ParticipantID]int{}
	for i, id := range ids {
		d := x.m.devices[id]
		if got := x.r.Devices("", 0)[i]; got != (Device{ID: id, Kind: d.kind, Since: today, Revoked: d.revoked, Generation: d.generation}) {
			t.Fatalf("device %+v, want %+v", got, d)
		}
		for day := range modelDays {
			if p, ok := x.r.Binding(id, x.first+steps.Day(day)); p != d.owner[day] || ok != (p != "") {
				t.Fatalf("device %s counts for %q on day %d, want %q", id, p, day, d.owner[day])
			}
			of[d.owner[day]]++
		}
		who, err := x.r.Authenticate(id, []byte(d.secret))
		if (err == nil) == d.revoked {
			t.Fatalf("device %s revoked %t: %v", id, d.revoked, err)
		}
		if err == nil {
			x.old = append(x.old, who)
		}
	}
	for _, who := range x.old {
		d := x.m.devices[who.Device]
		if want := !d.revoked && d.generation == who.Generation; x.r.Current(who) != want {
			t.Fatalf("identity %+v current %t, want %t", who, !want, want)
		}
	}
	x.checkParticipants(t, of)
}

func (x *machine) checkParticipants(t *rapid.T, of map[steps.ParticipantID]int) {
	if got := x.r.Participants("", 0); len(got) != len(x.m.born) {
		t.Fatalf("%d participants, want %d", len(got), len(x.m.born))
	}
	for id, born := range x.m.born {
		if got, _ := x.r.Scored(id); got.BornKnown != (born != nil) || got.BornKnown && got.Born != *born {
			t.Fatalf("%s: %+v, want born %v", id, got, born)
		}
		days := 0
		for _, b := range x.r.BindingsOf(id) {
			for day := range modelDays {
				if b.Days.Contains(x.first + steps.Day(day)) {
					days++
				}
			}
		}
		if days != of[id] {
			t.Fatalf("bindings of %s cover %d device-days, want %d", id, days, of[id])
		}
	}
}

// TestTable compares the sharded table and its order with a map, through block splits.
func TestTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tab := newTable[steps.DeviceID, int]()
		want := map[steps.DeviceID]int{}
		n := rapid.IntRange(0, 3*blockSize).Draw(t, "n")
		ascending := rapid.Bool().Draw(t, "ascending")
		step := rapid.SampledFrom([]int{1, 7, 613, 1531}).Draw(t, "step")
		for i := range n {
			v := i
			if !ascending {
				v = i * step % (n + 1)
			}
			id := steps.DeviceID(fmt.Sprintf("%06d", v))
			tab.put(id, &v)
			want[id] = v
		}
		keys := slices.Sorted(maps.Keys(want))
		if got := tab.order.page("", n+1); !slices.Equal(got, keys) || tab.len() != len(keys) {
			t.Fatalf("%d keys in order, want %d", len(got), len(keys))
		}
		for k, v := range want {
			if got := tab.get(k); got == nil || *got != v {
				t.Fatalf("%s is %v, want %d", k, got, v)
			}
		}
		if len(keys) > 0 {
			at, limit := rapid.IntRange(0, len(keys)-1).Draw(t, "at"), rapid.IntRange(1, 600).Draw(t, "limit")
			rest := keys[at+1:]
			if got := tab.order.page(keys[at], limit); !slices.Equal(got, rest[:min(limit, len(rest))]) {
				t.Fatalf("page after %s has %d keys", keys[at], len(got))
			}
		}
	})
}
