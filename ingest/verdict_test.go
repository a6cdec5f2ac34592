package ingest_test

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"testing"

	"ayumi/protocol/native"
	"ayumi/steps"
)

var encodings = []steps.Encoding{steps.Protobuf, steps.JSON}

// verdictCase is one upload and what becomes of it.
type verdictCase struct {
	name    string
	device  steps.DeviceID // "pedo" when empty
	series  []steps.Series
	verdict steps.Verdict
	faults  string
	runs    []string
}

// check sends the case through both journals in both encodings.
func (c *verdictCase) check(t *testing.T) {
	device := c.device
	if device == "" {
		device = "pedo"
	}
	for _, enc := range encodings {
		body := native.AppendUpload(nil, upload(7, c.series...), enc)
		j := new(memory)
		r := newRig(t, "Asia/Tokyo", j)
		c.compare(t, enc, r.submit(r.envelope(device, enc, body)))
		commit := j.last(t)
		if got := runs(commit); !slices.Equal(got, c.runs) {
			t.Errorf("%v: runs %q; want %q", enc, got, c.runs)
		}
		for _, run := range commit.Runs {
			if run.Upload != 0 {
				t.Errorf("%v: run %+v is not the upload's", enc, run)
			}
		}
		if len(commit.Contacts) != 1 || commit.Contacts[0].Device != device || commit.Contacts[0].SentAt != now {
			t.Errorf("%v: contacts %+v; want one of %s", enc, commit.Contacts, device)
		}
		wantQuarantine := c.faults != ""
		if got := len(commit.Quarantine) == 1; got != wantQuarantine {
			t.Fatalf("%v: quarantined: %t; want %t", enc, got, wantQuarantine)
		}
		if wantQuarantine && !bytes.Equal(commit.Quarantine[0].Raw, body) {
			t.Errorf("%v: the quarantined bytes are not those that came", enc)
		}
	}
	t.Run("store", func(t *testing.T) {
		t.Parallel()
		c.checkStore(t, device)
	})
}

// checkStore compares what a read sees after the acknowledgement.
func (c *verdictCase) checkStore(t *testing.T, device steps.DeviceID) {
	r := newStoreRig(t, "Asia/Tokyo", nil)
	body := native.AppendUpload(nil, upload(7, c.series...), steps.Protobuf)
	receipt := r.submit(r.envelope(device, steps.Protobuf, body))
	c.compare(t, steps.Protobuf, receipt)
	sums := make(map[string]int)
	for _, s := range c.runs {
		f := strings.Fields(s)
		_, sum, _ := strings.Cut(f[3], "=")
		n, _ := strconv.Atoi(sum)
		sums[f[0]+" "+f[1]] += n
	}
	var want []string
	for key, sum := range sums {
		want = append(want, key+" "+strconv.Itoa(sum))
	}
	r.wantTotals(want...)
	entries := r.quarantined()
	if c.faults == "" {
		if len(entries) > 0 {
			t.Errorf("quarantined %+v", entries[0])
		}
		return
	}
	if len(entries) != 1 || entries[0].ID != receipt.Uploads[0].Quarantine || entries[0].Device != device {
		t.Fatalf("quarantine %+v; want one entry %s", entries, receipt.Uploads[0].Quarantine)
	}
	whole, err := r.store.Quarantined(t.Context(), entries[0].ID)
	if err != nil || !bytes.Equal(whole.Raw, body) {
		t.Errorf("raw bytes %x, %v; want %x", whole.Raw, err, body)
	}
}

func (c *verdictCase) compare(t *testing.T, enc steps.Encoding, receipt steps.Receipt) {
	t.Helper()
	u := &receipt.Uploads[0]
	if u.Verdict != c.verdict || faults(u) != c.faults {
		t.Errorf("%v: verdict %v, faults %q (%+v); want %v, %q", enc, u.Verdict, faults(u), u.Faults, c.verdict, c.faults)
	}
	if receipt.Record == (steps.RecordID{}) || receipt.ReceivedAt != now {
		t.Errorf("%v: record %v, received at %d; want a record, %d", enc, receipt.Record, receipt.ReceivedAt, now)
	}
	if got, want := u.Quarantine != "", c.faults != ""; got != want {
		t.Errorf("%v: quarantine id %q; want one: %t", enc, u.Quarantine, want)
	}
	if u.Revision != (steps.Revision{Boot: 1, Seq: 7}) {
		t.Errorf("%v: revision %v; want 1/7", enc, u.Revision)
	}
	for _, f := range u.Faults {
		if f.Detail == "" {
			t.Errorf("%v: fault %v says nothing to people", enc, f)
		}
	}
}

func checkAll(t *testing.T, cases []verdictCase) {
	for i := range cases {
		t.Run(cases[i].name, cases[i].check)
	}
}

const (
	stored      = steps.Stored
	quarantined = steps.Quarantined
)

func one(s steps.Series) []steps.Series { return []steps.Series{s} }

func TestVerdictsByCount(t *testing.T) {
	good := func(hour string) steps.Series { return minutes("2026-11-23T"+hour+":00:00", 10, 20) }
	with := func(bad steps.Series) []steps.Series { return []steps.Series{good("07"), bad, good("08")} }
	both := []string{"ann 2026-11-23 60@420 2=30", "ann 2026-11-23 60@480 2=30"}
	three := func(middle string) []string { return []string{both[0], middle, both[1]} }
	checkAll(t, []verdictCase{
		{"nothing walked", "", with(minutes("2026-11-23T09:00:00", 0, 0)), stored, "", three("ann 2026-11-23 60@540 2=0")},
		{"heartbeat", "", nil, stored, "", nil},
		{"series without counts", "", one(minutes("2026-11-23T09:00:00")), stored, "", nil},
		{"300 in a minute", "", with(minutes("2026-11-23T09:00:00", 300)), stored, "", three("ann 2026-11-23 60@540 1=300")},
		{"301 in a minute", "", with(minutes("2026-11-23T09:00:00", 5, 301)), stored, "1:implausible", both},
		{"4500 in a quarter", "", with(every(900, "2026-11-23T09:00:00", 4500)), stored, "", three("ann 2026-11-23 900@36 1=4500")},
		{"4501 in a quarter", "", with(every(900, "2026-11-23T09:00:00", 4501)), stored, "1:implausible", both},
		{"432000 in a day", "", one(every(86400, "2026-11-22T00:00:00", 432_000)), stored, "", []string{"ann 2026-11-22 86400@0 1=432000"}},
		{"432001 in a day", "", one(every(86400, "2026-11-22T00:00:00", 432_001)), quarantined, "0:implausible", nil},
		{"absurd", "", with(minutes("2026-11-23T09:00:00", 4_000_000_000)), stored, "1:implausible", both},
		{"largest of 32 bits", "", with(minutes("2026-11-23T09:00:00", 1<<32-1)), stored, "1:implausible", both},
		{"only the bad one", "", one(minutes("2026-11-23T09:00:00", 301)), quarantined, "0:implausible", nil},
		{"two bad ones", "", []steps.Series{minutes("2026-11-23T09:00:00", 301), good("08"), every(45, "2026-11-23T09:00:00", 1)},
			stored, "0:implausible 2:interval", both[1:]},
	})
}

func TestVerdictsByTime(t *testing.T) {
	checkAll(t, []verdictCase{
		{"start in 2000", "", one(minutes("2000-01-01T00:00:00", 5)), quarantined, "0:too_old", nil},
		{"start in 1970", "", one(steps.Series{Start: 1, Interval: 60, Counts: []uint32{5}}), quarantined, "0:too_old", nil},
		{"start in 2036", "", one(minutes("2036-02-07T15:28:16", 5)), quarantined, "0:future", nil},
		{"start in 5138", "", one(steps.Series{Start: 100_000_000_000, Interval: 60, Counts: []uint32{5}}), quarantined, "0:future", nil},
		{"no counts in 2036", "", one(minutes("2036-02-07T15:28:16")), stored, "", nil},
		{"this minute", "", one(minutes("2026-11-23T12:00:00", 5)), stored, "", []string{"ann 2026-11-23 60@720 1=5"}},
		{"ten minutes ahead", "", one(minutes("2026-11-23T12:10:00", 5)), stored, "", []string{"ann 2026-11-23 60@730 1=5"}},
		{"eleven minutes ahead", "", one(minutes("2026-11-23T12:11:00", 5)), quarantined, "0:future", nil},
		{"last count ten minutes ahead", "", one(minutes("2026-11-23T12:00:00", repeat(11, 1)...)), stored, "", []string{"ann 2026-11-23 60@720 11=11"}},
		{"last count eleven minutes ahead", "", one(minutes("2026-11-23T12:00:00", repeat(12, 1)...)), quarantined, "0:future", nil},
		{"an hour that began", "", one(every(3600, "2026-11-23T12:00:00", 5)), stored, "", []string{"ann 2026-11-23 3600@12 1=5"}},
		{"42 days old", "", one(minutes("2026-10-12T00:00:00", 5)), stored, "", []string{"ann 2026-10-12 60@0 1=5"}},
		{"43 days old", "", one(minutes("2026-10-11T23:59:00", 5)), quarantined, "0:too_old", nil},
		{"across the age limit", "", one(minutes("2026-10-11T23:58:00", 1, 2, 4, 8)), stored, "0:too_old", []string{"ann 2026-10-12 60@0 2=12"}},
		{"a week across the age limit", "", one(minutes("2026-10-09T12:00:00", repeat(10_080, 1)...)), stored, "0:too_old", []string{
			"ann 2026-10-12 60@0 1440=1440", "ann 2026-10-13 60@0 1440=1440", "ann 2026-10-14 60@0 1440=1440",
			"ann 2026-10-15 60@0 1440=1440", "ann 2026-10-16 60@0 720=720"}},
		{"days across the age limit", "", one(every(86400, "2026-10-10T00:00:00", 1000, 2000, 3000)), stored, "0:too_old",
			[]string{"ann 2026-10-12 86400@0 1=3000"}},
		{"the future hurts nobody else", "", []steps.Series{minutes("2030-01-01T00:00:00", 5), minutes("2026-11-23T11:00:00", 6)},
			stored, "0:future", []string{"ann 2026-11-23 60@660 1=6"}},
		{"seconds are cut off", "", one(minutes("2026-11-23T09:00:59", 5)), stored, "", []string{"ann 2026-11-23 60@540 1=5"}},
		{"across midnight", "", one(minutes("2026-11-22T23:59:30", 5, 7)), stored, "", []string{"ann 2026-11-22 60@1439 1=5", "ann 2026-11-23 60@0 1=7"}},
		{"the calendar's midnight, not UTC's", "", one(minutes("2026-11-23T08:59:00", 5, 7)), stored, "", []string{"ann 2026-11-23 60@539 2=12"}},
	})
}

func TestVerdictsByInterval(t *testing.T) {
	checkAll(t, []verdictCase{
		{"absent is a minute", "", one(every(0, "2026-11-23T09:00:00", 5)), stored, "", []string{"ann 2026-11-23 60@540 1=5"}},
		{"45 s", "", one(every(45, "2026-11-23T09:00:00", 5)), quarantined, "0:interval", nil},
		{"61 s", "", one(every(61, "2026-11-23T09:00:00", 5)), quarantined, "0:interval", nil},
		{"7 min", "", one(every(420, "2026-11-23T00:00:00", 5)), quarantined, "0:interval", nil},
		{"2 days", "", one(every(172_800, "2026-11-22T00:00:00", 5)), quarantined, "0:interval", nil},
		{"largest", "", one(every(4_294_967_280, "2026-11-22T00:00:00", 5)), quarantined, "0:interval", nil},
		{"2 h", "", one(every(7200, "2026-11-23T08:00:00", 5, 6)), stored, "", []string{"ann 2026-11-23 7200@4 2=11"}},
		{"2 h misaligned", "", one(every(7200, "2026-11-23T09:00:00", 5)), quarantined, "0:misaligned", nil},
		{"15 min misaligned by a minute", "", one(every(900, "2026-11-23T09:01:00", 5)), quarantined, "0:misaligned", nil},
		{"15 min late by seconds", "", one(every(900, "2026-11-23T09:00:59", 5)), stored, "", []string{"ann 2026-11-23 900@36 1=5"}},
		{"a day", "", one(every(86400, "2026-11-21T00:00:00", 5000, 6000)), stored, "",
			[]string{"ann 2026-11-21 86400@0 1=5000", "ann 2026-11-22 86400@0 1=6000"}},
		{"a day of UTC", "", one(every(86400, "2026-11-22T09:00:00", 5000)), quarantined, "0:misaligned", nil},
		{"the day in progress", "", one(every(86400, "2026-11-23T00:00:00", 3000)), stored, "", []string{"ann 2026-11-23 86400@0 1=3000"}},
		{"tomorrow", "", one(every(86400, "2026-11-24T00:00:00", 3000)), quarantined, "0:future", nil},
		{"hours across midnight", "", one(every(3600, "2026-11-22T22:00:00", 1, 2, 4)), stored, "",
			[]string{"ann 2026-11-22 3600@22 2=3", "ann 2026-11-23 3600@0 1=4"}},
	})
}

func TestVerdictsByWindow(t *testing.T) {
	checkAll(t, []verdictCase{
		{"zeros up to the end", "", one(until("2026-11-23T09:10:00", minutes("2026-11-23T09:00:00", 5))), stored, "", []string{"ann 2026-11-23 60@540 10=5"}},
		{"zeros alone", "", one(until("2026-11-23T10:00:00", minutes("2026-11-23T09:00:00"))), stored, "", []string{"ann 2026-11-23 60@540 60=0"}},
		{"end before the last count", "", one(until("2026-11-23T09:01:00", minutes("2026-11-23T09:00:00", 5, 6, 7))), stored, "", []string{"ann 2026-11-23 60@540 3=18"}},
		{"end at the start", "", one(until("2026-11-23T09:00:00", minutes("2026-11-23T09:00:00", 5))), stored, "", []string{"ann 2026-11-23 60@540 1=5"}},
		{"end within an interval", "", one(until("2026-11-23T10:29:00", every(900, "2026-11-23T10:00:00", 5))), stored, "", []string{"ann 2026-11-23 900@40 1=5"}},
		{"zeros across midnight", "", one(until("2026-11-23T00:02:00", minutes("2026-11-22T23:58:00", 9))), stored, "",
			[]string{"ann 2026-11-22 60@1438 2=9", "ann 2026-11-23 60@0 2=0"}},
		{"end in the future", "", one(until("2026-11-23T13:00:00", minutes("2026-11-23T11:00:00", 9))), quarantined, "0:future", nil},
		{"of a counter", "", one(until("2026-11-23T09:05:00", counter(minutes("2026-11-23T09:00:00", 100, 107)))), stored, "", []string{"ann 2026-11-23 60@540 5=7"}},
		{"two windows", "", []steps.Series{until("2026-11-23T09:03:00", minutes("2026-11-23T09:00:00", 1)), until("2026-11-23T10:03:00", minutes("2026-11-23T10:00:00", 2))},
			stored, "", []string{"ann 2026-11-23 60@540 3=1", "ann 2026-11-23 60@600 3=2"}},
	})
}

func TestVerdictsByCounter(t *testing.T) {
	checkAll(t, []verdictCase{
		{"rises", "", one(counter(minutes("2026-11-23T09:00:00", 100, 105, 105, 115))), stored, "", []string{"ann 2026-11-23 60@540 3=15"}},
		{"starts again", "", one(counter(minutes("2026-11-23T09:00:00", 100, 105, 3, 9))), stored, "", []string{"ann 2026-11-23 60@540 3=14"}},
		{"starts again at zero", "", one(counter(minutes("2026-11-23T09:00:00", 9999, 0, 0))), stored, "", []string{"ann 2026-11-23 60@540 2=0"}},
		{"one reading", "", one(counter(minutes("2026-11-23T09:00:00", 100))), quarantined, "0:empty_counter", nil},
		{"no reading", "", one(counter(minutes("2026-11-23T09:00:00"))), quarantined, "0:empty_counter", nil},
		{"jumps", "", one(counter(minutes("2026-11-23T09:00:00", 100, 401))), quarantined, "0:implausible", nil},
		{"large readings, small steps", "", one(counter(minutes("2026-11-23T09:00:00", 4_000_000_000, 4_000_000_100))), stored, "", []string{"ann 2026-11-23 60@540 1=100"}},
		{"starts again far up", "", one(counter(minutes("2026-11-23T09:00:00", 5000, 4000))), quarantined, "0:implausible", nil},
		{"reading that does not fit", "", one(counter(minutes("2026-11-23T09:00:00", 1<<32-2, 1<<32-1))), quarantined, "0:implausible", nil},
		{"across midnight", "", one(counter(minutes("2026-11-22T23:59:00", 10, 15, 22))), stored, "",
			[]string{"ann 2026-11-22 60@1439 1=5", "ann 2026-11-23 60@0 1=7"}},
		{"by the hour", "", one(counter(every(3600, "2026-11-23T09:00:00", 10, 1500, 4000))), stored, "", []string{"ann 2026-11-23 3600@9 2=3990"}},
		{"last reading is now", "", one(counter(minutes("2026-11-23T12:09:00", 1, 2, 3))), stored, "", []string{"ann 2026-11-23 60@729 2=2"}},
	})
}

func TestVerdictsByBinding(t *testing.T) {
	checkAll(t, []verdictCase{
		{"nobody's", "loose", one(minutes("2026-11-23T09:00:00", 5)), quarantined, "0:unbound", nil},
		{"nobody's heartbeat", "loose", nil, stored, "", nil},
		{"bound on the later days", "part", one(minutes("2026-11-20T23:58:00", 1, 2, 4, 8)), stored, "0:unbound", []string{"ben 2026-11-21 60@0 2=12"}},
		{"bound on the later days, by day", "part", one(every(86400, "2026-11-19T00:00:00", 1, 2, 4, 8)), stored, "0:unbound",
			[]string{"ben 2026-11-21 86400@0 1=4", "ben 2026-11-22 86400@0 1=8"}},
		{"before the binding", "part", one(minutes("2026-11-20T12:00:00", 1)), quarantined, "0:unbound", nil},
		{"two series, one too early", "part", []steps.Series{minutes("2026-11-20T12:00:00", 1), minutes("2026-11-21T12:00:00", 2)}, stored, "0:unbound",
			[]string{"ben 2026-11-21 60@720 1=2"}},
		{"handed on", "swap", one(minutes("2026-11-20T23:59:00", 5, 7)), stored, "",
			[]string{"ann 2026-11-20 60@1439 1=5", "ben 2026-11-21 60@0 1=7"}},
		{"handed on, by day", "swap", one(every(86400, "2026-11-19T00:00:00", 1, 2, 4, 8)), stored, "",
			[]string{"ann 2026-11-19 86400@0 1=1", "ann 2026-11-20 86400@0 1=2", "ben 2026-11-21 86400@0 1=4", "ben 2026-11-22 86400@0 1=8"}},
	})
}
