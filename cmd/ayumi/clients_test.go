package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"ayumi/protocol/native"
	"ayumi/registry"
	"ayumi/steps"
)

// toolPatience bounds one run of another program.
const toolPatience = 30 * time.Second

// tool finds another program. Without it the test is skipped; CI must have it.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is not installed; CI must have it", name)
		}
		t.Skipf("%s is not installed", name)
	}
	return path
}

// runTool runs another program and returns what it printed, both streams, and its exit status.
func runTool(t *testing.T, stdin []byte, name string, args ...string) (output string, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), toolPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, tool(t, name), args...)
	cmd.Stdin = bytes.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// mustTool runs another program that has to succeed.
func mustTool(t *testing.T, stdin []byte, name string, args ...string) string {
	t.Helper()
	out, status := runTool(t, stdin, name, args...)
	if status != 0 {
		t.Fatalf("%s %q: status %d: %s", name, args, status, out)
	}
	return out
}

// walker is a participant with one device.
type walker struct {
	participant steps.ParticipantID
	device      steps.DeviceID
	secret      string
	day         steps.Day // on which everything is walked: yesterday, until walkOn
	start       int64     // nine hours into it
	calendar    steps.Calendar
}

// enrolWalker registers a person and a device. The device is bound to the person unless unbound.
func enrolWalker(t *testing.T, g *testGateway, name string, kind registry.Kind, unbound bool) *walker {
	t.Helper()
	w := &walker{participant: steps.ParticipantID("p-" + name), device: steps.DeviceID("d-" + name), calendar: g.calendar}
	w.walkOn(g.calendar.Day(g.clock().Unix()) - 1)
	if _, err := g.client.AddParticipant(t.Context(), w.participant, nil); err != nil {
		t.Fatal(err)
	}
	cred, err := g.client.AddDevice(t.Context(), w.device, kind)
	if err != nil {
		t.Fatal(err)
	}
	w.secret = cred.Secret
	if !unbound {
		w.bind(t, g, w.day-40)
	}
	return w
}

// walkOn has the walker walk on another day.
func (w *walker) walkOn(day steps.Day) {
	w.day = day
	w.start, _ = w.calendar.Bounds(day)
	w.start += 9 * 3600
}

func (w *walker) bind(t *testing.T, g *testGateway, from steps.Day) {
	t.Helper()
	if _, err := g.client.Bind(t.Context(), w.device, w.participant, &from); err != nil {
		t.Fatal(err)
	}
}

// upload is one series of w, a minute each.
func (w *walker) upload(seq uint64, enc steps.Encoding, counts ...uint32) []byte {
	u := steps.Upload{
		Revision: steps.Revision{Boot: 1, Seq: seq}, SentAt: w.start + 3600, UTCOffset: 9 * 3600,
		Series: []steps.Series{{Start: w.start, Interval: 60, Origin: steps.OriginSensor, Counts: counts}},
		Status: steps.DeviceStatus{Battery: 80, Firmware: "AY-1.4.2", Signal: -71},
	}
	return native.AppendUpload(nil, &u, enc)
}

func (w *walker) topic(enc steps.Encoding) string {
	return "ayumi/v1/" + string(w.device) + "/up/" + enc.String()
}

// wantSteps verifies that exactly this was counted for the participant, on the given days.
func wantSteps(t *testing.T, g *testGateway, p steps.ParticipantID, want map[steps.Day]uint64) {
	t.Helper()
	out := mustVerb(t, "days", "--data-dir", g.dir, "--participant", string(p), "--output", "csv")
	records, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	if err != nil || len(records) == 0 || strings.Join(records[0], ",") != "participant,day,steps,points" {
		t.Fatalf("days: %v: %q", err, out)
	}
	got := map[string]string{}
	for _, r := range records[1:] {
		if r[0] != string(p) {
			t.Errorf("--participant %s printed a day of %s", p, r[0])
		}
		got[r[1]] = r[2]
	}
	for day, n := range want {
		if s := got[day.String()]; s != fmt.Sprint(n) {
			t.Errorf("%s on %s: %q steps are counted, %d were sent", p, day, s, n)
		}
		delete(got, day.String())
	}
	if len(got) > 0 {
		t.Errorf("%s: days nobody sent: %v", p, got)
	}
}

// wrote stores bytes in a file for another program and returns its path.
func wrote(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func portOf(t *testing.T, l net.Listener) string {
	t.Helper()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// mosquittoArgs are the arguments that every client of Mosquitto shares.
func mosquittoArgs(t *testing.T, g *testGateway, w *walker, version string, plain bool) []string {
	args := []string{"-d", "-V", version, "-h", "127.0.0.1", "-u", string(w.device), "-P", w.secret, "-q", "1"}
	if plain {
		return append(args, "-p", portOf(t, g.ports.mqtt))
	}
	return append(args, "-p", portOf(t, g.ports.mqttTLS), "--cafile", g.cert.CAFile)
}

func TestMosquittoPublishes(t *testing.T) {
	tool(t, "mosquitto_pub")
	g := startGateway(t, testConfig(), t.TempDir())
	for _, version := range []string{"311", "5"} {
		for _, listener := range []string{"tls", "plain"} {
			for _, enc := range []steps.Encoding{steps.Protobuf, steps.JSON} {
				name := version + "-" + listener + "-" + enc.String()
				t.Run(name, func(t *testing.T) {
					w := enrolWalker(t, g, "pub-"+name, registry.Pedometer, false)
					args := append(mosquittoArgs(t, g, w, version, listener == "plain"), "-i", string(w.device),
						"-t", w.topic(enc), "-f", wrote(t, "upload", w.upload(1, enc, 90, 110, 0, 63)))
					for range 2 { // a repeat counts once
						if out := mustTool(t, nil, "mosquitto_pub", args...); !strings.Contains(out, "received PUBACK (Mid: 1, RC:0)") {
							t.Errorf("no PUBACK with reason code 0: %s", out)
						}
					}
					wantSteps(t, g, w.participant, map[steps.Day]uint64{w.day: 263})
				})
			}
		}
	}
}

func TestMosquittoSeesRefusals(t *testing.T) {
	tool(t, "mosquitto_pub")
	g := startGateway(t, testConfig(), t.TempDir())
	for _, c := range []struct {
		name, version string
		unbound       bool
		secret        string
		cut           int // bytes missing at the end of the payload
		prints        string
		status        int
	}{
		{"malformed over 3.1.1", "311", false, "", 2, "received PUBACK (Mid: 1, RC:0)", 0},
		{"malformed over 5", "5", false, "", 2, "received PUBACK (Mid: 1, RC:153)", 0},
		{"unbound over 5", "5", true, "", 0, "received PUBACK (Mid: 1, RC:135)", 0},
		{"wrong secret over 3.1.1", "311", false, "guess", 0, "received CONNACK (5)", 5},
		{"wrong secret over 5", "5", false, "guess", 0, "received CONNACK (134)", 134},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := enrolWalker(t, g, "ref-"+strings.ReplaceAll(c.name, " ", "-"), registry.Pedometer, c.unbound)
			if c.secret != "" {
				w.secret = c.secret
			}
			body := w.upload(1, steps.Protobuf, 90, 110)
			out, status := runTool(t, body[:len(body)-c.cut], "mosquitto_pub",
				append(mosquittoArgs(t, g, w, c.version, false), "-i", "x", "-t", w.topic(steps.Protobuf), "-s")...)
			if !strings.Contains(out, c.prints) || status != c.status {
				t.Errorf("status %d, want %d and %q: %s", status, c.status, c.prints, out)
			}
			wantSteps(t, g, w.participant, nil)
		})
	}
}

// mosquitto_rr subscribes to the receipt and publishes on one connection.
func TestMosquittoReceipt(t *testing.T) {
	tool(t, "mosquitto_rr")
	g := startGateway(t, testConfig(), t.TempDir())
	for _, version := range []string{"311", "5"} {
		t.Run(version, func(t *testing.T) {
			w := enrolWalker(t, g, "rr-"+version, registry.Pedometer, false)
			args := mosquittoArgs(t, g, w, version, false)[1:] // without -d, which goes to stdout
			out := mustTool(t, nil, "mosquitto_rr", append(args, "-W", "20", "-F", "%t %p", "-t", w.topic(steps.JSON),
				"-e", "ayumi/v1/"+string(w.device)+"/receipt", "-m", string(w.upload(3, steps.JSON, 90, 110)))...)
			checkReceipt(t, w, out)
			wantSteps(t, g, w.participant, map[steps.Day]uint64{w.day: 200})
		})
	}
}

// checkReceipt verifies "TOPIC JSON", the receipt of revision 1/3.
func checkReceipt(t *testing.T, w *walker, out string) {
	t.Helper()
	topic, body, _ := strings.Cut(strings.TrimSpace(out), " ")
	r, err := native.ParseReceipt([]byte(body), steps.JSON)
	if err != nil || topic != "ayumi/v1/"+string(w.device)+"/receipt" {
		t.Fatalf("%q: %v", out, err)
	}
	u := r.Uploads
	if len(u) != 1 || u[0].Verdict != steps.Stored || u[0].Device != w.device || u[0].Revision != (steps.Revision{Boot: 1, Seq: 3}) {
		t.Errorf("the receipt is %s", body)
	}
}

// mosquitto_sub listens on a connection of its own, as docs/wire.md lets a device do.
func TestMosquittoSubscribes(t *testing.T) {
	tool(t, "mosquitto_sub")
	g := startGateway(t, testConfig(), t.TempDir())
	for _, version := range []string{"311", "5"} {
		t.Run(version, func(t *testing.T) {
			w := enrolWalker(t, g, "sub-"+version, registry.Pedometer, false)
			args := mosquittoArgs(t, g, w, version, false)
			out := subscribed(t, append(args, "-C", "1", "-W", "5", "-F", "receipt: %t %p",
				"-t", "ayumi/v1/"+string(w.device)+"/receipt"), func() {
				mustTool(t, w.upload(3, steps.JSON, 90, 110), "mosquitto_pub", append(args, "-t", w.topic(steps.JSON), "-s")...)
			})
			wantSteps(t, g, w.participant, map[steps.Day]uint64{w.day: 200})
			_, receipt, found := strings.Cut(out, "receipt: ")
			if !found {
				t.Fatalf("no receipt came: %s", out)
			}
			line, _, _ := strings.Cut(receipt, "\n")
			checkReceipt(t, w, line)
		})
	}
}

// subscribed runs mosquitto_sub, calls fn once it has its SUBACK, and returns all that it printed.
func subscribed(t *testing.T, args []string, fn func()) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), toolPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, tool(t, "stdbuf"), append([]string{"-oL", tool(t, "mosquitto_sub")}, args...)...)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	buf, called := make([]byte, 4096), false
	for {
		n, err := pipe.Read(buf)
		out.Write(buf[:n])
		if !called && strings.Contains(out.String(), "Subscribed (mid:") {
			called = true
			fn()
		}
		if err != nil {
			break
		}
	}
	_ = cmd.Wait() // 27 when -W ran out; what it printed tells
	if !called {
		t.Fatalf("no SUBACK: %s", &out)
	}
	return out.String()
}

// curlArgs are the arguments that every request shares; the status goes last to stdout.
func curlArgs(g *testGateway, w *walker, more ...string) []string {
	return append([]string{"--silent", "--show-error", "--max-time", "20", "--cacert", g.cert.CAFile,
		"--user", string(w.device) + ":" + w.secret, "--write-out", "\n%{http_code}"}, more...)
}

func TestCurlUploads(t *testing.T) {
	tool(t, "curl")
	g := startGateway(t, testConfig(), t.TempDir())
	url := "https://" + g.ports.https.Addr().String() + "/v1/"
	for _, c := range []struct {
		name   string
		enc    steps.Encoding
		coding string
		pack   func(*testing.T, []byte) []byte
	}{
		{"json", steps.JSON, "", nil},
		{"protobuf", steps.Protobuf, "", nil},
		{"json-gzip", steps.JSON, "gzip", gzipped},
		{"protobuf-gzip", steps.Protobuf, "gzip", gzipped},
		{"json-zstd", steps.JSON, "zstd", zstandard},
		{"protobuf-zstd", steps.Protobuf, "zstd", zstandard},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := enrolWalker(t, g, "curl-"+c.name, registry.App, false)
			body := w.upload(3, c.enc, 90, 110, 5)
			mediaType := map[steps.Encoding]string{steps.JSON: "application/json", steps.Protobuf: "application/x-protobuf"}[c.enc]
			args := curlArgs(g, w, "--header", "Content-Type: "+mediaType, "--data-binary", "@-")
			if c.pack != nil {
				body = c.pack(t, body)
				args = append(args, "--header", "Content-Encoding: "+c.coding)
			}
			for _, verdict := range []steps.Verdict{steps.Stored, steps.Duplicate} {
				answer, ok := strings.CutSuffix(mustTool(t, body, "curl", append(args, url+"uploads")...), "\n200")
				r, err := native.ParseReceipt([]byte(answer), c.enc)
				if !ok || err != nil || len(r.Uploads) != 1 || r.Uploads[0].Verdict != verdict || r.Uploads[0].Device != w.device {
					t.Fatalf("not %s: %q, %v", verdict, answer, err)
				}
			}
			wantSteps(t, g, w.participant, map[steps.Day]uint64{w.day: 205})
			checkOwnDays(t, w, mustTool(t, nil, "curl", curlArgs(g, w, url+"days")...))
		})
	}
}

// checkOwnDays verifies the answer of GET /v1/days after 205 steps yesterday.
func checkOwnDays(t *testing.T, w *walker, answer string) {
	t.Helper()
	var days struct {
		Days []struct {
			Day   string
			Steps uint64
		}
	}
	text, ok := strings.CutSuffix(answer, "\n200")
	err := json.Unmarshal([]byte(text), &days)
	if !ok || err != nil || len(days.Days) != 1 || days.Days[0].Day != w.day.String() || days.Days[0].Steps != 205 {
		t.Errorf("GET /v1/days: %v, %s", err, answer)
	}
}

func gzipped(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zstandard(t *testing.T, b []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(b, nil)
}

// The C program of docs/wire.md says 946 steps on 2026-11-23 in Japan, whenever it is run.
func TestCEncoderUploads(t *testing.T) {
	tool(t, "curl")
	tool(t, "cc")
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "wire.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, source, found := strings.Cut(string(page), "\n```c\n")
	source, _, ended := strings.Cut(source, "\n```\n")
	if !found || !ended {
		t.Fatal("docs/wire.md has no C program")
	}
	dir := t.TempDir()
	binary := filepath.Join(dir, "upload")
	if err := os.WriteFile(binary+".c", []byte(source+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	mustTool(t, nil, "cc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-o", binary, binary+".c")
	payload := mustTool(t, nil, binary)

	cfg := testConfig()
	cfg.Limits.MaxAgeDays, cfg.Limits.MaxFuture = 0, 100*365*24*time.Hour
	g := startGateway(t, cfg, t.TempDir())
	w := enrolWalker(t, g, "c", registry.Pedometer, true)
	day := steps.DateDay(2026, time.November, 23)
	w.bind(t, g, day)
	out := mustTool(t, []byte(payload), "curl", curlArgs(g, w, "--header", "Content-Type: application/x-protobuf",
		"--data-binary", "@-", "https://"+g.ports.https.Addr().String()+"/v1/uploads")...)
	if !strings.HasSuffix(out, "\n200") {
		t.Errorf("curl: %q", out)
	}
	wantSteps(t, g, w.participant, map[steps.Day]uint64{day: 946})
}

func TestMQTTJSPublishes(t *testing.T) {
	modules := os.Getenv("AYUMI_MQTTJS")
	switch {
	case modules == "" && os.Getenv("CI") != "":
		t.Fatal("AYUMI_MQTTJS is empty; CI must name a directory with node_modules/mqtt")
	case modules == "":
		t.Skip("AYUMI_MQTTJS names no directory with node_modules/mqtt")
	}
	g := startGateway(t, testConfig(), t.TempDir())
	for _, version := range []string{"4", "5"} {
		t.Run(version, func(t *testing.T) {
			w := enrolWalker(t, g, "js-"+version, registry.Pedometer, false)
			publish := func(body []byte) string {
				return mustTool(t, body, "node", filepath.Join("testdata", "publish.js"), modules,
					"mqtts://"+g.ports.mqttTLS.Addr().String(), g.cert.CAFile, version,
					string(w.device), w.secret, w.topic(steps.Protobuf))
			}
			for seq := uint64(1); seq <= 2; seq++ {
				if out := publish(w.upload(seq, steps.Protobuf, 90, 110, 7)); out != "PUBACK 0\n" {
					t.Errorf("it printed %q", out)
				}
			}
			refused := map[string]string{"4": "PUBACK 0\n", "5": "PUBACK 153\n"}[version]
			if out := publish([]byte{0xff}); out != refused {
				t.Errorf("a malformed payload: it printed %q, want %q", out, refused)
			}
			wantSteps(t, g, w.participant, map[steps.Day]uint64{w.day: 207})
		})
	}
}
