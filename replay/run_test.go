package replay

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ayumi/protocol"
	"ayumi/protocol/native"
	"ayumi/steps"
	"ayumi/uplink"
	"ayumi/uplink/uplinktest"
)

// model is a gateway that keeps the merge law and the quarantine in memory.
type model struct {
	mu         sync.Mutex
	devices    map[string]merged
	quarantine map[steps.QuarantineID]bool
	uploads    int
	durable    map[string]bool // device and body of what was accepted
}

func newModel() *model {
	return &model{devices: map[string]merged{}, quarantine: map[steps.QuarantineID]bool{}, durable: map[string]bool{}}
}

func (m *model) take(device string, body []byte, enc steps.Encoding) (steps.Receipt, error) {
	var u steps.Upload
	if err := native.NewDecoder(protocol.DefaultLimits()).Upload(&u, body, enc); err != nil {
		return steps.Receipt{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.uploads++
	m.durable[device+string(body)] = true
	answer := steps.UploadReceipt{Device: steps.DeviceID(device), Revision: u.Revision, Verdict: steps.Stored}
	switch y := time.Unix(u.Series[0].Start, 0).UTC().Year(); {
	case y == 2000 || y == 2036:
		answer.Verdict = steps.Quarantined
		answer.Quarantine = steps.NewQuarantineID(answer.Device, body)
		answer.Faults = []steps.Fault{{Series: -1, Reason: steps.ReasonFuture, Detail: "wrong year"}}
		m.quarantine[answer.Quarantine] = true
	default:
		if m.devices[device] == nil {
			m.devices[device] = merged{}
		}
		m.devices[device].take(&u)
	}
	return steps.Receipt{Record: steps.RecordID{Group: 1}, ReceivedAt: 1, Uploads: []steps.UploadReceipt{answer}}, nil
}

// mqtt is the model behind MQTT. With a positive stumble every so manieth publish is stored, not
// acknowledged, and the connection drops.
func (m *model) mqtt(t *testing.T, stumble int64) uplinktest.Script {
	var n atomic.Int64
	return uplinktest.Script{
		Connect: func(c uplinktest.Connect) (byte, []byte) {
			if c.Password != "secret of "+c.User {
				return 0x86, nil
			}
			return 0, nil
		},
		Publish: func(p uplinktest.Publish) uplinktest.Answer {
			enc := steps.Protobuf
			if p.Topic == uplink.UploadTopic(steps.DeviceID(p.User), steps.JSON) {
				enc = steps.JSON
			} else if p.Topic != uplink.UploadTopic(steps.DeviceID(p.User), steps.Protobuf) {
				t.Errorf("topic %s of %s", p.Topic, p.User)
			}
			r, err := m.take(p.User, p.Payload, enc)
			if err != nil {
				t.Error(err)
			}
			if stumble > 0 && n.Add(1)%stumble == 0 {
				return uplinktest.Answer{Drop: true}
			}
			ack := uplinktest.Ack{ID: p.ID}
			if r.Refusal() != 0 {
				ack.Reason = 0x99
			}
			return uplinktest.Answer{Acks: []uplinktest.Ack{ack}}
		},
	}
}

func (m *model) https(t *testing.T) (string, *tls.Config) {
	t.Helper()
	var n atomic.Int64
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, secret, _ := r.BasicAuth()
		if secret != "secret of "+user {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		enc := steps.Protobuf
		if r.Header.Get("Content-Type") == "application/json" {
			enc = steps.JSON
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		receipt, err := m.take(user, body, enc)
		if err != nil {
			t.Error(err)
		}
		if n.Add(1)%17 == 0 { // stored, and the answer gets lost
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
		_, _ = w.Write(native.AppendReceipt(nil, &receipt, enc))
	}))
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return s.URL, &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}

// fleet plans a device for every walker.
func fleet(t *testing.T, n int) ([]Walker, []Device, Expectation) {
	t.Helper()
	cal := tokyo(t)
	walkers := Walkers(WalkerOptions{People: n, First: 20_000, Last: 20_003, Seed: 11})
	var devices []Device
	var e Expectation
	for i, w := range walkers {
		id := steps.DeviceID(fmt.Sprintf("dev-%d", i))
		plan := Plan(w.Person, PlanOptions{Calendar: cal, Seed: 2, Faults: AllFaults})
		devices = append(devices, Device{ID: id, Secret: "secret of " + string(id), Sendings: plan})
		e.Add(w.Person, cal, plan)
	}
	return walkers, devices, e
}

func (m *model) check(t *testing.T, walkers []Walker, devices []Device, e Expectation) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, w := range walkers {
		want, got := truth(w.Person, tokyo(t)), m.devices[string(devices[i].ID)]
		if len(got) != len(want) {
			t.Errorf("%s: %d minutes, want %d", w.ID, len(got), len(want))
		}
		for at, c := range want {
			if got[at].count != c {
				t.Fatalf("%s: minute %d is %d, want %d", w.ID, at, got[at].count, c)
			}
		}
	}
	if len(m.quarantine) != e.BrokenClock {
		t.Errorf("%d quarantined, want %d", len(m.quarantine), e.BrokenClock)
	}
}

func checkResult(t *testing.T, res Result, devices []Device, e Expectation) {
	t.Helper()
	if res.Acknowledged != e.Sendings || res.Failed != 0 || res.DevicesDone != len(devices) || res.Sent != e.Sendings+res.Resent {
		t.Errorf("result %+v, want %d acknowledged", res.Progress, e.Sendings)
	}
	if res.Stored+res.Duplicate+res.Quarantined+res.Unknown != res.Acknowledged || res.Quarantined < e.BrokenClock {
		t.Errorf("verdicts %+v", res.Counts)
	}
	for i, d := range res.Devices {
		if d.ID != devices[i].ID || d.Err != nil {
			t.Errorf("device %+v", d.Err)
		}
		for k, ok := range d.Acked {
			if !ok {
				t.Errorf("%s: sending %d is not acknowledged", d.ID, k)
			}
		}
	}
}

func TestRunBothWays(t *testing.T) {
	walkers, devices, e := fleet(t, 6)
	m := newModel()
	s, err := uplinktest.Listen("127.0.0.1:0", nil, m.mqtt(t, 23))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	url, conf := m.https(t)
	var acked atomic.Int64
	var last Progress
	res, err := Run(t.Context(), RunOptions{
		Transport: ByBoth, MQTTAddr: s.Addr(), HTTPSURL: url, HTTPSTLS: conf, Connections: 3, Window: 5,
		Retry: uplink.Retry{First: time.Millisecond}, ProgressEvery: time.Millisecond,
		OnAck: func(steps.DeviceID, int) { acked.Add(1) },
	}, devices, func(p Progress) { last = p })
	if err != nil {
		t.Fatal(err)
	}
	checkResult(t, res, devices, e)
	m.check(t, walkers, devices, e)
	if int(acked.Load()) != e.Sendings || last.Acknowledged != e.Sendings || res.PerSecond() <= 0 {
		t.Errorf("OnAck %d times, last progress %+v", acked.Load(), last)
	}
	if res.Resent == 0 || res.Reconnects == 0 || res.Stored == 0 || res.Unknown == 0 {
		t.Errorf("counts %+v", res.Counts)
	}
}

// TestRunOverRestart kills the server in mid-run; what it had acknowledged by then must be what it
// had taken, and the rest must come after the restart.
func TestRunOverRestart(t *testing.T) {
	walkers, devices, e := fleet(t, 5)
	m := newModel()
	script := m.mqtt(t, 0)
	s, err := uplinktest.Listen("127.0.0.1:0", nil, script)
	if err != nil {
		t.Fatal(err)
	}
	kill := make(chan struct{})
	var acked atomic.Int64
	onAck := func(id steps.DeviceID, k int) {
		if acked.Add(1) == int64(e.Sendings/3) {
			close(kill)
		}
		for _, d := range devices {
			if d.ID == id {
				sent := &d.Sendings[k]
				m.mu.Lock()
				ok := m.durable[string(id)+string(native.AppendUpload(nil, &sent.Upload, sent.Encoding))]
				m.mu.Unlock()
				if !ok {
					t.Errorf("%s: sending %d is acknowledged and was not taken", id, k)
				}
			}
		}
	}
	var again *uplinktest.Server
	var wg sync.WaitGroup
	wg.Go(func() {
		<-kill
		s.Close()
		var err error
		if again, err = uplinktest.Listen(s.Addr(), nil, script); err != nil {
			t.Error(err)
		}
	})
	res, err := Run(t.Context(), RunOptions{MQTTAddr: s.Addr(), Retry: uplink.Retry{First: time.Millisecond}, OnAck: onAck}, devices, nil)
	wg.Wait()
	if again != nil {
		defer again.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	checkResult(t, res, devices, e)
	m.check(t, walkers, devices, e)
}

func TestRunGivesUp(t *testing.T) {
	_, devices, e := fleet(t, 3)
	devices[1].Secret = "wrong"
	m := newModel()
	s, err := uplinktest.Listen("127.0.0.1:0", nil, m.mqtt(t, 0))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	res, err := Run(t.Context(), RunOptions{MQTTAddr: s.Addr()}, devices, nil)
	if steps.KindOf(err) != steps.Unauthorized {
		t.Errorf("%v, want unauthorized", err)
	}
	lost := len(devices[1].Sendings)
	if res.Failed != lost || res.Acknowledged != e.Sendings-lost || res.Devices[1].Err == nil || res.Devices[2].Err != nil {
		t.Errorf("result %+v", res.Counts)
	}
}

func TestRunOptionErrors(t *testing.T) {
	for name, o := range map[string]RunOptions{"no MQTT address": {}, "no URL": {Transport: ByHTTPS}} {
		if _, err := Run(t.Context(), o, []Device{{ID: "d"}}, nil); steps.KindOf(err) != steps.Invalid {
			t.Errorf("%s: %v, want invalid", name, err)
		}
	}
	res, err := Run(t.Context(), RunOptions{Transport: ByHTTPS, HTTPSURL: "http://plain"}, []Device{{ID: "d", Sendings: make([]Sending, 2)}}, nil)
	if steps.KindOf(err) != steps.Invalid || res.Failed != 2 {
		t.Errorf("%v, %+v", err, res.Counts)
	}
}

func TestParseTransport(t *testing.T) {
	for s, want := range map[string]Transport{"mqtt": ByMQTT, "https": ByHTTPS, "both": ByBoth} {
		if got, err := ParseTransport(s); got != want || err != nil {
			t.Errorf("%s: %d, %v", s, got, err)
		}
	}
	if _, err := ParseTransport("smoke"); steps.KindOf(err) != steps.Invalid {
		t.Errorf("%v, want invalid", err)
	}
}
