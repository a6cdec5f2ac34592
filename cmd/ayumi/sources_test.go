package main

import (
	"context"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"ayumi/merge"
	"ayumi/replay"
	"ayumi/steps"
)

// copied is what two devices of one person counted: a pedometer, and a phone whose clock is up to 20 seconds
// off and that lost a tenth of the minutes. By their IDs the phone comes first.
type copied struct {
	person     string
	ped, phone steps.DeviceID
	days       []copiedDay
}

type copiedDay struct {
	day        steps.Day
	ped, phone []steps.Series
}

func (c *copiedDay) steps(series []steps.Series) (n uint64) {
	for _, s := range series {
		for _, count := range s.Counts {
			n += uint64(count)
		}
	}
	return n
}

// copyPerson makes the devices of a person.
func copyPerson(p replay.Person, cal steps.Calendar, rng *rand.Rand) copied {
	c := copied{person: p.ID, ped: steps.DeviceID("ped-" + p.ID), phone: steps.DeviceID("app-" + p.ID)}
	for from := 0; from < len(p.Hours); {
		to := from
		var minutes [1440]int64 // -1: not reported
		for i := range minutes {
			minutes[i] = -1
		}
		for ; to < len(p.Hours) && p.Hours[to].Day == p.Hours[from].Day; to++ {
			for i, n := range p.Hours[to].Counts {
				minutes[p.Hours[to].Hour*60+i] = int64(n)
			}
		}
		day := p.Hours[from].Day
		start, _ := cal.Bounds(day)
		c.days = append(c.days, copiedDay{day, seriesOf(start, &minutes), seriesOf(start, spoiledCopy(&minutes, rng))})
		from = to
	}
	return c
}

// spoiledCopy is what a device counts whose clock is off and that loses minutes.
func spoiledCopy(minutes *[1440]int64, rng *rand.Rand) *[1440]int64 {
	off := rng.IntN(41) - 20
	side := 1
	if off < 0 {
		side = -1
	}
	out := *minutes
	for i, n := range minutes {
		to := i + side
		if n <= 0 || to < 0 || to >= len(minutes) || minutes[to] < 0 {
			continue
		}
		moved := int64(math.Round(float64(n) * math.Abs(float64(off)) / 60))
		out[i] -= moved
		out[to] += moved
	}
	for i := range out {
		if rng.IntN(10) == 0 {
			out[i] = -1
		}
	}
	return &out
}

// seriesOf cuts the minutes that are reported into series.
func seriesOf(start int64, minutes *[1440]int64) (series []steps.Series) {
	for i, n := range minutes {
		if n < 0 {
			continue
		}
		if i == 0 || minutes[i-1] < 0 {
			series = append(series, steps.Series{Start: start + int64(i)*60, Interval: 60, Origin: steps.OriginSensor})
		}
		last := &series[len(series)-1]
		last.Counts = append(last.Counts, uint32(n)) //nolint:gosec // a minute's steps
	}
	return series
}

// fleet has both devices send each day in an upload of its own, the days in any order.
func (c *copied) fleet(f *fleet, rng *rand.Rand) {
	for _, d := range []struct {
		id  steps.DeviceID
		of  func(*copiedDay) []steps.Series
		way replay.Transport
	}{
		{c.ped, func(d *copiedDay) []steps.Series { return d.ped }, replay.ByMQTT},
		{c.phone, func(d *copiedDay) []steps.Series { return d.phone }, replay.ByHTTPS},
	} {
		device := replay.Device{ID: d.id, Transport: d.way}
		for seq, i := range rng.Perm(len(c.days)) {
			device.Sendings = append(device.Sendings, replay.Sending{Encoding: steps.Protobuf, Upload: steps.Upload{
				Revision: steps.Revision{Boot: 1, Seq: uint64(seq)}, UTCOffset: 9 * 3600, Series: d.of(&c.days[i]), //nolint:gosec // small
			}})
		}
		f.devices = append(f.devices, device)
		f.people = append(f.people, enrolment{steps.ParticipantID(c.person), d.id, "pedometer", c.days[0].day})
	}
}

// readCopies returns the people of the export, moved so that their last day was yesterday, with two devices each.
func readCopies(t *testing.T, g *testGateway, rng *rand.Rand) (all []copied) {
	t.Helper()
	f, err := os.Open(sharedFile(t, "data/fitbit-53894/minuteStepsWide_merged.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	people, err := replay.ReadFitbitMinutes(f)
	if err != nil {
		t.Fatal(err)
	}
	replay.Shift(people, today(t, g.client)-1)
	for _, p := range people {
		all = append(all, copyPerson(p, g.calendar, rng))
	}
	return all
}

// wantDays compares the listed steps of every day with what want says, up to a part of them; all together
// to a tenth of that.
func wantDays(t *testing.T, g *testGateway, all []copied, within float64, want func(*copied, *copiedDay) uint64) {
	t.Helper()
	<-g.store.Retotalled()
	held := readDays(t, g.dir)
	wrong, sum, wanted := 0, uint64(0), uint64(0)
	for i := range all {
		for j := range all[i].days {
			d := &all[i].days[j]
			n := want(&all[i], d)
			got := held[personDay{all[i].person, d.day.String()}]
			sum, wanted = sum+got.steps, wanted+n
			allowed := within * float64(max(n, 1000)) // of a day of a few steps a minute is much
			if math.Abs(float64(got.steps)-float64(n)) > allowed || got.points != yokohama(got.steps) {
				if wrong++; wrong <= 5 {
					t.Errorf("%s on %s: %+v; want %d steps", all[i].person, d.day, got, n)
				}
			}
		}
	}
	if off := math.Abs(float64(sum)-float64(wanted)) / float64(wanted); off > within/10 {
		t.Errorf("all days have %d steps; want %d", sum, wanted)
	}
	t.Logf("%d steps in %d days, want %d: %.4f; %d days wrong", sum, len(held), wanted, float64(sum)/float64(wanted), wrong)
}

// TestTwoDevicesAreCountedOnce uploads the export twice, as two devices of everybody: a day has the steps of one
// of them, within a hundredth, whichever comes first. Then the order and the policy decide alone.
func TestTwoDevicesAreCountedOnce(t *testing.T) {
	t.Parallel()
	dir, rng := filepath.Join(t.TempDir(), "data"), rand.New(rand.NewPCG(7, 7)) //nolint:gosec // a test
	cfg := testConfig()
	g := startGateway(t, cfg, dir)
	all := readCopies(t, g, rng)
	var f fleet
	for i := range all {
		all[i].fleet(&f, rng)
	}
	if err := f.enrol(t.Context(), g.client); err != nil {
		t.Fatal(err)
	}
	status, err := g.client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	o, err := f.options(&status, 8)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := replay.Run(t.Context(), o, f.devices, nil); err != nil {
		t.Fatal(err)
	}
	walked := func(_ *copied, d *copiedDay) uint64 { return d.steps(d.ped) }
	wantDays(t, g, all, 0.01, walked)

	half := len(all) / 2 // have the pedometer first from here on
	for _, c := range all[:half] {
		mustVerb(t, "participant", "sources", "--data-dir", dir, c.person, string(c.ped), string(c.phone))
	}
	wantDays(t, g, all, 0.01, walked)
	g.stop()

	cfg.Programme.Sources.Policy = merge.OneDevice
	g = startGateway(t, cfg, dir)
	first := func(c *copied, d *copiedDay) uint64 {
		if c.person < all[half].person && d.steps(d.ped) > 0 {
			return d.steps(d.ped)
		}
		if n := d.steps(d.phone); n > 0 {
			return n
		}
		return d.steps(d.ped)
	}
	wantDays(t, g, all, 0, first)
	mustVerb(t, "participant", "sources", "--data-dir", dir, all[half].person, "--choose", string(all[half].ped))
	wantDays(t, g, all, 0, func(c *copied, d *copiedDay) uint64 {
		if c.person == all[half].person {
			return d.steps(d.ped)
		}
		return first(c, d)
	})
	checkSources(t, g, &all[half])
}

// checkSources compares what the store tells of a person's days with what it lists.
func checkSources(t *testing.T, g *testGateway, c *copied) {
	t.Helper()
	var days []steps.ParticipantDay
	for _, d := range c.days {
		days = append(days, steps.ParticipantDay{Participant: steps.ParticipantID(c.person), Day: d.day})
	}
	i := 0
	err := g.store.EachMinutes(context.Background(), days, func(got steps.DayTotal, _ []uint32) error {
		day, found, err := g.store.Sources(days[i])
		if err != nil || !found || len(day.Sources) != 2 || day.Chosen != c.ped {
			t.Errorf("%s: sources %+v, %v, %v", days[i].Day, day, found, err)
		}
		if want := c.days[i].steps(c.days[i].ped); got.Steps != want {
			t.Errorf("%s: minutes of %d steps; want %d", days[i].Day, got.Steps, want)
		}
		i++
		return nil
	})
	if err != nil || i != len(days) {
		t.Errorf("%d of %d days, %v", i, len(days), err)
	}
}
