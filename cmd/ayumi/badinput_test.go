package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"ayumi/protocol/native"
	"ayumi/registry"
	"ayumi/steps"
)

// badInput is something that should not have been sent, with the verdict that docs/wire.md states.
type badInput struct {
	name string
	via  string // transports, of all when empty
	kind registry.Kind
	// unbound leaves the device without a participant.
	unbound bool
	enc     steps.Encoding
	bundle  bool
	topic   string // instead of the device's own; %s is another device

	body func(b *trial) []byte

	puback  byte                          // reason code of the v5 PUBACK; 3.1.1 gets a plain one
	status  int                           // of the HTTPS answer
	reasons []steps.Reason                // of the faults, in the receipt and in quarantine
	raw     func(b *trial) []byte         // what quarantine holds; the body when nil
	holder  func(b *trial) steps.DeviceID // whose quarantine it is; the device's own when nil
	counts  uint64                        // steps of the participant afterwards
}

const (
	via311   = "MQTT 3.1.1"
	via5     = "MQTT 5"
	viaHTTPS = "HTTPS"
	viaMQTT  = via311 + ", " + via5
)

// trial is one bad input on one transport.
type trial struct {
	t               *testing.T
	g               *testGateway
	via             string
	w, friend, mate *walker
}

// answer is what came back.
type answer struct {
	acked      bool // PUBACK, or an HTTPS answer that says that the payload is on disk
	code       int  // of PUBACK or HTTPS; of DISCONNECT when not acked
	receipt    *steps.Receipt
	quarantine steps.QuarantineID // as a problem document names it
}

func badPayloads() []badInput {
	pb, js := steps.Protobuf, steps.JSON
	return []badInput{
		{name: "truncated protobuf", enc: pb, body: func(b *trial) []byte { u := b.good(pb); return u[:len(u)-3] },
			puback: 0x99, status: 400, reasons: []steps.Reason{steps.ReasonMalformed}},
		{name: "empty payload", enc: pb, body: func(*trial) []byte { return nil },
			puback: 0x99, status: 400, reasons: []steps.Reason{steps.ReasonMalformed}},
		{name: "JSON with unknown fields", enc: js,
			body:   func(*trial) []byte { return []byte(`{"boot":1,"seq":1,"series":[],"sneaky":true}`) },
			puback: 0x99, status: 400, reasons: []steps.Reason{steps.ReasonMalformed}},
		{name: "compressed where nothing says so", enc: js, body: func(b *trial) []byte { return gzipped(b.t, b.good(js)) },
			puback: 0x99, status: 400, reasons: []steps.Reason{steps.ReasonMalformed}},
		{name: "another device in a single upload", enc: js,
			body: func(b *trial) []byte {
				return fmt.Appendf(nil, `{"device":%q,"boot":1,"seq":1,"series":[]}`, b.friend.device)
			},
			puback: 0x99, status: 400, reasons: []steps.Reason{steps.ReasonMalformed}},
		{name: "negative and absurd counts beside good ones", enc: js, body: absurd,
			puback: 0, status: 200, counts: 300,
			reasons: []steps.Reason{steps.ReasonImplausible, steps.ReasonImplausible, steps.ReasonImplausible}},
		{name: "a clock in 2036", enc: pb, body: at(time.Date(2036, 2, 7, 6, 28, 0, 0, time.UTC)),
			puback: 0x99, status: 200, reasons: []steps.Reason{steps.ReasonFuture}},
		{name: "a clock in 2000", enc: pb, body: at(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)),
			puback: 0x99, status: 200, reasons: []steps.Reason{steps.ReasonTooOld}},
		{name: "bound to nobody", unbound: true, enc: pb, body: func(b *trial) []byte { return b.good(pb) },
			puback: 0x87, status: 200, reasons: []steps.Reason{steps.ReasonUnbound}},
	}
}

func misplacedPayloads() []badInput {
	pb := steps.Protobuf
	good := func(b *trial) []byte { return b.good(pb) }
	return []badInput{
		{name: "unknown topic", via: viaMQTT, enc: pb, topic: "walking/steps", body: good,
			puback: 0x87, reasons: []steps.Reason{steps.ReasonTopic}},
		{name: "own topic, unknown encoding", via: viaMQTT, enc: pb, topic: "ayumi/v1/self/up/xml", body: good,
			puback: 0x87, reasons: []steps.Reason{steps.ReasonTopic}},
		{name: "another device's topic", via: viaMQTT, enc: pb, topic: "ayumi/v1/%s/up/pb", body: good,
			puback: 0x87, reasons: []steps.Reason{steps.ReasonTopic}},
		{name: "bundle from a device that is no reader", enc: pb, bundle: true, body: bundleOf("friend"),
			puback: 0x87, status: 200, reasons: []steps.Reason{steps.ReasonNotReader}},
		{name: "unknown device between two good ones in a bundle", kind: registry.Reader, unbound: true, enc: pb, bundle: true,
			body: bundleOf("friend", "stranger", "mate"), puback: 0, status: 200, counts: 200,
			reasons: []steps.Reason{steps.ReasonUnknownDevice},
			raw:     func(b *trial) []byte { return b.carried("stranger") },
			holder:  func(*trial) steps.DeviceID { return "stranger" }},
	}
}

// absurd is 300 good steps beside three series that nobody can walk.
func absurd(b *trial) []byte {
	start := time.Unix(b.w.start, 0).UTC()
	series := func(after time.Duration, counts string) string {
		return fmt.Sprintf(`{"start":%q,"steps":[%s]}`, start.Add(after).Format(time.RFC3339), counts)
	}
	return fmt.Appendf(nil, `{"boot":1,"seq":1,"series":[%s,%s,%s,%s]}`, series(0, "100,-5"), series(time.Hour, "100,200"),
		series(2*time.Hour, "100,70000"), series(3*time.Hour, "18446744073709551616"))
}

func at(start time.Time) func(b *trial) []byte {
	return func(b *trial) []byte {
		w := *b.w
		w.start = start.Unix()
		return w.upload(1, steps.Protobuf, 90, 110)
	}
}

func (b *trial) good(enc steps.Encoding) []byte { return b.w.upload(1, enc, 90, 110) }

// carried is one upload of a bundle.
func (b *trial) carried(who string) []byte {
	device := map[string]steps.DeviceID{"friend": b.friend.device, "mate": b.mate.device, "stranger": "stranger"}[who]
	u := steps.Upload{Device: device, Revision: steps.Revision{Boot: 1, Seq: uint64(b.w.start)},
		SentAt: int64(len(b.via)), Series: []steps.Series{{Start: b.w.start, Interval: 60, Counts: []uint32{90, 110}}}}
	return native.AppendUpload(nil, &u, steps.Protobuf)
}

func bundleOf(who ...string) func(b *trial) []byte {
	return func(b *trial) []byte {
		var out []byte
		for _, name := range who {
			u := b.carried(name)
			out = append(out, 1<<3|2, byte(len(u)))
			out = append(out, u...)
		}
		return out
	}
}

func TestBadInput(t *testing.T) {
	g := startGateway(t, testConfig(), t.TempDir())
	n := 0
	for _, c := range slices.Concat(badPayloads(), misplacedPayloads()) {
		for _, via := range []string{via311, via5, viaHTTPS} {
			if c.via != "" && !strings.Contains(c.via, via) {
				continue
			}
			t.Run(c.name+" over "+via, func(t *testing.T) {
				n++
				b := &trial{t: t, g: g, via: via}
				if c.kind == 0 {
					c.kind = registry.Pedometer
				}
				b.w = enrolWalker(t, g, fmt.Sprintf("bad-%d", n), c.kind, c.unbound)
				b.friend = enrolWalker(t, g, fmt.Sprintf("friend-%d", n), registry.Pedometer, false)
				b.mate = enrolWalker(t, g, fmt.Sprintf("mate-%d", n), registry.Pedometer, false)
				c.try(b)
			})
		}
	}
}

// try sends the input twice and compares answer, quarantine and days with the stated verdict.
func (c *badInput) try(b *trial) {
	b.t.Helper()
	body := c.body(b)
	for range 2 { // a repeat changes nothing
		a := b.send(c, body)
		want := c.status
		if b.via != viaHTTPS {
			want = int(c.puback)
		}
		if b.via == via311 {
			want = 0
		}
		if !a.acked || a.code != want {
			b.t.Fatalf("acknowledged %t with %#x, want %#x", a.acked, a.code, want)
		}
		if a.receipt != nil {
			c.checkReceipt(b, a.receipt)
		} else if a.quarantine != steps.NewQuarantineID(b.w.device, body) {
			b.t.Errorf("the problem names quarantine %q", a.quarantine)
		}
	}
	held := body
	if c.raw != nil {
		held = c.raw(b)
	}
	holder := b.w.device
	if c.holder != nil {
		holder = c.holder(b)
	}
	checkHeld(b.t, b.g, holder, held, c.reasons)
	days := map[steps.Day]uint64{}
	if c.counts > 0 {
		days[b.w.day] = c.counts
	}
	if c.kind == registry.Reader { // what it carried counts for others
		wantSteps(b.t, b.g, b.mate.participant, days)
		wantSteps(b.t, b.g, b.friend.participant, days)
		days = nil
	}
	wantSteps(b.t, b.g, b.w.participant, days)
	checkReady(b.t, b.g)
}

func (c *badInput) checkReceipt(b *trial, r *steps.Receipt) {
	b.t.Helper()
	var got []steps.Reason
	for _, u := range r.Uploads {
		for _, f := range u.Faults {
			got = append(got, f.Reason)
			if f.Detail == "" {
				b.t.Errorf("fault %s has no detail", f.Reason)
			}
		}
	}
	if !slices.Equal(got, c.reasons) || r.Record.String() == "0.0" {
		b.t.Errorf("receipt %s has reasons %v, want %v", r.Record, got, c.reasons)
	}
}

// checkHeld verifies that the quarantine holds exactly these bytes for these reasons.
func checkHeld(t *testing.T, g *testGateway, device steps.DeviceID, raw []byte, reasons []steps.Reason) {
	t.Helper()
	id := steps.NewQuarantineID(device, raw)
	var q struct {
		Device string
		State  string
		Raw    []byte
		Faults []struct{ Reason string }
	}
	out := mustVerb(t, "quarantine", "show", "--data-dir", g.dir, string(id), "--output", "json")
	if err := json.Unmarshal([]byte(out), &q); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var want, got []string
	for _, r := range reasons {
		want = append(want, r.String())
	}
	for _, f := range q.Faults {
		got = append(got, f.Reason)
	}
	if !bytes.Equal(q.Raw, raw) || q.Device != string(device) || q.State != "open" || !slices.Equal(got, want) {
		t.Errorf("quarantine holds %q of %s (%s) for %v; want %q of %s for %v", q.Raw, q.Device, q.State, got, raw, device, want)
	}
}

// checkReady verifies that the gateway accepts uploads.
func checkReady(t *testing.T, g *testGateway) {
	t.Helper()
	if status, text := monitorPage(t, g, "/readyz"); status != http.StatusOK {
		t.Errorf("/readyz: %d %s", status, text)
	}
}

// send delivers a payload as the trial's device.
func (b *trial) send(c *badInput, body []byte) answer {
	b.t.Helper()
	if b.via == viaHTTPS {
		return b.post(c.enc, c.bundle, "", body)
	}
	kind := "/up/"
	if c.bundle {
		kind = "/bundle/"
	}
	topic := "ayumi/v1/" + string(b.w.device) + kind + c.enc.String()
	if c.topic != "" {
		topic = strings.Replace(c.topic, "%s", string(b.friend.device), 1)
		topic = strings.Replace(topic, "self", string(b.w.device), 1)
	}
	m := b.connect()
	defer m.close()
	return m.publish(topic, body, c.enc, c.topic != "")
}

// post uploads over HTTPS with a fresh connection.
func (b *trial) post(enc steps.Encoding, bundle bool, coding string, body []byte) answer {
	b.t.Helper()
	media := map[steps.Encoding]string{steps.JSON: "application/json", steps.Protobuf: "application/x-protobuf"}[enc]
	if bundle {
		media += "; message=bundle"
	}
	header := http.Header{"Content-Type": {media}}
	if coding != "" {
		header.Set("Content-Encoding", coding)
	}
	status, kind, text := request(b.t, b.g, b.w, header, body)
	a := answer{acked: status == http.StatusOK, code: status}
	if a.acked {
		var err error
		if a.receipt, err = native.ParseReceipt(text, enc); err != nil {
			b.t.Fatal(err)
		}
		return a
	}
	var problem struct {
		Type, Title, Detail, Quarantine string
		Status                          int
	}
	if err := json.Unmarshal(text, &problem); err != nil || kind != "application/problem+json" ||
		problem.Status != status || problem.Type == "" || problem.Title == "" || problem.Detail == "" {
		b.t.Errorf("%d is answered with %s %s: %v", status, kind, text, err)
	}
	a.quarantine = steps.QuarantineID(problem.Quarantine)
	a.acked = a.quarantine != ""
	return a
}

func request(t *testing.T, g *testGateway, w *walker, header http.Header, body []byte) (status int, kind string, text []byte) {
	t.Helper()
	conf, err := clientTLS(g.cert.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	conf.Time = g.clock
	transport := &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+g.ports.https.Addr().String()+"/v1/uploads", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	req.SetBasicAuth(string(w.device), w.secret)
	resp, err := (&http.Client{Transport: transport, Timeout: toolPatience}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, err = io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("Content-Type"), text
}

// What is too large is refused before it costs anything, and nothing of it is acknowledged or kept.
func TestTooLargeInput(t *testing.T) {
	g := startGateway(t, testConfig(), t.TempDir())
	zeros := make([]byte, 32<<20)
	gz, zs := gzipped(t, zeros), zstandard(t, zeros)
	for i, c := range []struct {
		name, via, coding string
		body              []byte
		code              int
	}{
		{"2 MiB", via311, "", make([]byte, 2<<20), 0},
		{"2 MiB", via5, "", make([]byte, 2<<20), 0x95},
		{"2 MiB", viaHTTPS, "", make([]byte, 2<<20), 413},
		{"gzip of 1 GiB", viaHTTPS, "gzip", bytes.Repeat(gz, 32), 413},
		{"zstd of 1 GiB", viaHTTPS, "zstd", bytes.Repeat(zs, 32), 413},
		{"zstd of 32 MiB in one frame", viaHTTPS, "zstd", zs, 413},
		{"gzip just beyond the limit", viaHTTPS, "gzip", gzipped(t, zeros[:1<<20+1]), 413},
	} {
		t.Run(c.name+" over "+c.via, func(t *testing.T) {
			b := &trial{t: t, g: g, via: c.via, w: enrolWalker(t, g, fmt.Sprintf("large-%d", i), registry.Pedometer, false)}
			if c.via != viaHTTPS {
				b.mustDeliver(1) // then the next connection's first packet is what is too large
			}
			start, before := time.Now(), allocated()
			var a answer
			if c.via == viaHTTPS {
				a = b.post(steps.JSON, false, c.coding, c.body)
			} else {
				m := b.connect()
				defer m.close()
				a = m.publish(b.w.topic(steps.JSON), c.body, steps.JSON, false)
			}
			if took, cost := time.Since(start), allocated()-before; took > 5*time.Second || cost > 24<<20 {
				t.Errorf("the refusal took %v and %d bytes of memory", took, cost)
			}
			if a.acked || a.code != c.code || a.quarantine != "" {
				t.Errorf("acknowledged %t with %#x, want %#x", a.acked, a.code, c.code)
			}
			held := mustVerb(t, "quarantine", "list", "--data-dir", g.dir, "--device", string(b.w.device), "--output", "json")
			if strings.TrimSpace(held) != "[]" {
				t.Errorf("quarantine holds %s", held)
			}
			b.mustDeliver(2)
			wantSteps(t, g, b.w.participant, map[steps.Day]uint64{b.w.day: 200})
			checkReady(t, g)
		})
	}
}

// allocated is how many bytes were ever allocated.
func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// mustDeliver sends a good upload, which has to be stored.
func (b *trial) mustDeliver(seq uint64) {
	b.t.Helper()
	c := &badInput{enc: steps.Protobuf}
	if a := b.send(c, b.w.upload(seq, steps.Protobuf, 90, 110)); !a.acked || a.receipt == nil || a.receipt.Refusal() != 0 {
		b.t.Fatalf("a good upload was answered with %+v", a)
	}
}
