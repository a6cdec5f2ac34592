package main

import (
	"context"
	"encoding"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"ayumi/merge"
	"ayumi/registry"
	"ayumi/steps"
)

var exampleFile = filepath.Join("..", "..", "config.example.yaml")

func TestExampleConfigIsTheDefault(t *testing.T) {
	got, err := loadConfig(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	if want := defaultConfig(); !reflect.DeepEqual(got, want) {
		t.Errorf("config.example.yaml is\n%+v\nthe default is\n%+v", got, want)
	}
}

// keysOf lists the keys of a config struct, dotted.
func keysOf(t *testing.T, of reflect.Type, prefix string) []string {
	t.Helper()
	var keys []string
	for f := range of.Fields() {
		tag := f.Tag.Get("mapstructure")
		switch {
		case tag == "":
			t.Errorf("%s.%s has no mapstructure tag", of, f.Name)
		case f.Type.Kind() == reflect.Struct && !reflect.PointerTo(f.Type).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()):
			keys = append(keys, keysOf(t, f.Type, prefix+tag+".")...)
		default:
			keys = append(keys, prefix+tag)
		}
	}
	return keys
}

// keysIn lists the keys of a document, dotted.
func keysIn(doc map[string]any, prefix string) (keys []string) {
	for key, value := range doc {
		if section, nested := value.(map[string]any); nested {
			keys = append(keys, keysIn(section, prefix+key+".")...)
		} else {
			keys = append(keys, prefix+key)
		}
	}
	return keys
}

func TestExampleConfigMentionsEveryKey(t *testing.T) {
	text, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	var example map[string]any
	if err := yaml.Unmarshal(text, &example); err != nil {
		t.Fatal(err)
	}
	got := keysIn(example, "")
	slices.Sort(got)
	want := keysOf(t, reflect.TypeFor[config](), "")
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("config.example.yaml has\n%v\nthe struct has\n%v", got, want)
	}
}

func TestConfigRefuses(t *testing.T) {
	for _, c := range []struct{ name, yaml, says string }{
		{"unknown section", "mqqt:\n  listen: 127.0.0.1:0\n", "mqqt"},
		{"unknown key", "mqtt:\n  listn: 127.0.0.1:0\n", "listn"},
		{"key of another section", "https:\n  listen_tls: 127.0.0.1:0\n", "listen_tls"},
		{"duration without a unit", "mqtt:\n  connect_timeout: 10\n", "connect_timeout"},
		{"duration that is none", "mqtt:\n  connect_timeout: soon\n", "soon"},
		{"text for a number", "limits:\n  max_age_days: \"many\"\n", "max_age_days"},
		{"number in quotes", "limits:\n  max_age_days: \"42\"\n", "max_age_days"},
		{"days open for years", "points:\n  final_after_days: 401\n", "points.final_after_days is 401; use at most 400"},
		{"days closed before they are over", "points:\n  final_after_days: -1\n", "points.final_after_days is -1; use at least 0"},
		{"negative number", "limits:\n  steps_per_minute: -1\n", "steps_per_minute"},
		{"zero where one is needed", "limits:\n  steps_per_minute: 0\n", "limits.steps_per_minute is 0"},
		{"no receive window", "mqtt:\n  receive_maximum: 0\n", "mqtt.receive_maximum is 0; use at least 1"},
		{"window beyond 16 bits", "mqtt:\n  receive_maximum: 70000\n", "use at most 65535"},
		{"keep alive beyond 16 bits", "mqtt:\n  keep_alive_max: 24h\n", "use at most 18h12m15s"},
		{"no time to connect", "mqtt:\n  connect_timeout: 0s\n", "mqtt.connect_timeout is 0s; use at least 1ms"},
		{"no queue", "store:\n  queue_len: -1\n", "store.queue_len"},
		{"queue beyond a transaction", "store:\n  queue_len: 65537\n", "use at most 65536"},
		{"unknown profile", "profile: tiny\n", "use auto, small or large"},
		{"memtable below a group", "store:\n  mem_table_bytes: 1048576\n", "store.mem_table_bytes"},
		{"body beyond a record", "limits:\n  upload_bytes: 1048577\n", "at most 1048576"},
		{"key twice", "log:\n  level: info\n  level: warn\n", "level"},
		{"no YAML", "mqtt: [\n", "line"},
		{"unknown level", "log:\n  level: loud\n", "loud"},
		{"unknown format", "log:\n  format: xml\n", "xml"},
		{"unknown kind of flag", "plausibility:\n  hold_kinds: [lazy]\n", "shared_pattern"},
		{"limit that makes no sense", "plausibility:\n  limits:\n    flat:\n      window: 1\n", "plausibility.limits: cannot use plausibility limits: flat.window makes no sense"},
		{"fingerprints for years", "plausibility:\n  compare_days: 101\n", "plausibility.compare_days is 101; use at most 100"},
		{"unknown policy", "programme:\n  sources:\n    policy: all\n", "programme.sources.policy"},
		{"unknown treatment", "programme:\n  sources:\n    manual: some\n", "programme.sources.manual"},
		{"unknown key of sources", "programme:\n  sources:\n    typed: exclude\n", "typed"},
		{"no tolerance", "programme:\n  sources:\n    clock_tolerance_minutes: 0\n", "programme.sources: cannot use merge policy: clock_tolerance_minutes is 0"},
		{"not carried for a moment", "programme:\n  sources:\n    not_carried_minutes: 4\n", "not_carried_minutes is 4"},
		{"certificate without key", "tls:\n  cert_file: a.pem\n", "tls.key_file"},
		{"plain MQTT everywhere", "mqtt:\n  listen: 0.0.0.0:1883\n", "mqtt.listen_tls"},
		{"plain MQTT on every address", "mqtt:\n  listen: :1883\n", "beyond the loopback"},
		{"plain MQTT in IPv6", "mqtt:\n  listen: \"[::]:1883\"\n", "beyond the loopback"},
		{"plain MQTT of a host", "mqtt:\n  listen: gateway.example:1883\n", "beyond the loopback"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := loadConfig(wrote(t, "config.yaml", []byte(c.yaml)))
			if err == nil || !strings.Contains(err.Error(), c.says) || steps.KindOf(err) != steps.Invalid {
				t.Errorf("%v, want %q", err, c.says)
			}
		})
	}
}

func TestConfigOfSources(t *testing.T) {
	want := defaultConfig()
	want.Programme.Sources.Policy = merge.OneDevice
	want.Programme.Sources.Manual = merge.OriginRule{Treatment: merge.Cap, Steps: 3000}
	got, err := loadConfig(wrote(t, "config.yaml", []byte("programme:\n  sources:\n    policy: one-device\n    manual: cap:3000\n")))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	if sources := *got.store("").Sources; sources.Policy != merge.OneDevice || sources.Unknown.Treatment != merge.Accept {
		t.Errorf("the store gets %+v", sources)
	}
}

func TestConfigKeepsDefaultsOfTheRest(t *testing.T) {
	want := defaultConfig()
	want.MQTT.ConnectTimeout, want.TLS.Hosts = 3*time.Second, []string{"gateway.example"}
	got, err := loadConfig(wrote(t, "config.yaml", []byte("mqtt:\n  connect_timeout: 3s\ntls:\n  hosts: [gateway.example]\n")))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
}

// monitorPage reads a page of the metrics port.
func monitorPage(t *testing.T, g *testGateway, path string) (status int, text string) {
	t.Helper()
	return page(t, g.ports.metrics.Addr().String(), path)
}

func page(t *testing.T, addr, path string) (status int, text string) {
	t.Helper()
	transport := new(http.Transport)
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport, Timeout: toolPatience}).Get("http://" + addr + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// metric reads one sample by its name with labels.
func metric(t *testing.T, g *testGateway, name string) float64 {
	t.Helper()
	return metricAt(t, g.ports.metrics.Addr().String(), name)
}

func metricAt(t *testing.T, addr, name string) float64 {
	t.Helper()
	_, text := page(t, addr, "/metrics")
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// metricLabels are the labels that a metric of ours may have, each with the values it may take.
// A new one belongs here once it is sure that its values are few and name nobody.
var metricLabels = map[string]*regexp.Regexp{
	"transport": regexp.MustCompile(`^(mqtt|https|broker|staff)$`),
	"verdict":   regexp.MustCompile(`^(stored|duplicate|quarantined)$`),
	"reason":    regexp.MustCompile(`^[a-z_]{4,16}$`),
	"result":    regexp.MustCompile(`^[a-z_]{3,16}$`),
	"cause":     regexp.MustCompile(`^[a-z_]{4,16}$`),
	"qos":       regexp.MustCompile(`^[01]$`),
	"route":     regexp.MustCompile(`^(uploads|days|[a-z/_0-9]{4,16})$`),
	"code":      regexp.MustCompile(`^[1-5][0-9][0-9]$`),
	"coding":    regexp.MustCompile(`^(identity|gzip|zstd)$`),
	"kind":      regexp.MustCompile(`^(pedometer|app|reader)$`),
	"flag":      regexp.MustCompile(`^[a-z_]{8,17}$`),
	"state":     regexp.MustCompile(`^(open|held)$`),
	"le":        regexp.MustCompile(`^(\+Inf|[0-9.e+-]+)$`),
}

var (
	sample = regexp.MustCompile(`^(ayumi_[a-z0-9_]+)(?:\{(.*)\})? (\S+)$`)
	label  = regexp.MustCompile(`([a-z_]+)="([^"]*)"`)
)

func TestMetricsNameNobody(t *testing.T) {
	g := startGateway(t, testConfig(), t.TempDir())
	var secrets []string
	for i, via := range []string{via311, via5, viaHTTPS} {
		b := &trial{t: t, g: g, via: via, w: enrolWalker(t, g, fmt.Sprintf("metric-%d", i), registry.Pedometer, false)}
		b.mustDeliver(1)
		b.send(&badInput{enc: steps.JSON}, []byte("malformed"))
		b.refused(string(b.w.device), "guess", 0x86)
		secrets = append(secrets, string(b.w.participant), string(b.w.device), b.w.secret)
	}
	_, text := monitorPage(t, g, "/metrics")
	for _, s := range append(secrets, "d-metric", "p-metric") {
		if strings.Contains(text, s) {
			t.Errorf("/metrics contains %q", s)
		}
	}
	series, families := map[string]int{}, map[string]bool{}
	for line := range strings.Lines(text) {
		if m := sample.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			series[m[1]]++
			families[strings.SplitN(m[1], "_", 3)[1]] = true
			checkLabels(t, m[1], m[2])
		}
	}
	for name, n := range series {
		if n > 100 {
			t.Errorf("%s has %d series", name, n)
		}
	}
	for _, room := range []string{"mqtt", "https", "ingest", "store", "points", "closing", "review", "registry"} {
		if !families[room] {
			t.Errorf("no metric of %s; there are those of %v", room, slices.Sorted(maps.Keys(families)))
		}
	}
	if n := metric(t, g, `ayumi_ingest_uploads_total{transport="mqtt",verdict="stored"}`); n != 2 {
		t.Errorf("%v uploads over MQTT are counted as stored", n)
	}
}

func checkLabels(t *testing.T, name, labels string) {
	t.Helper()
	for _, l := range label.FindAllStringSubmatch(labels, -1) {
		if may := metricLabels[l[1]]; may == nil || !may.MatchString(l[2]) {
			t.Errorf("%s has label %s, which is not among the bounded ones", name, l[0])
		}
	}
}

func TestHealthAndReadiness(t *testing.T) {
	g := startGateway(t, testConfig(), t.TempDir())
	for _, path := range []string{"/healthz", "/readyz"} {
		if status, text := monitorPage(t, g, path); status != http.StatusOK || text != "ok\n" {
			t.Errorf("%s: %d %q", path, status, text)
		}
	}
	g.stop() // now the store refuses
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := newMonitor(g.metrics, g.store.Ready)
	served := newStage(func(context.Context) error { return m.Serve(l) })
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		if err := served.stop(); err != nil {
			t.Error(err)
		}
	})
	for _, c := range []struct {
		path   string
		ready  bool
		status int
		says   string
	}{
		{"/healthz", false, http.StatusOK, "ok"},
		{"/readyz", false, http.StatusServiceUnavailable, "starting or stopping"},
		{"/readyz", true, http.StatusServiceUnavailable, "the store is shutting down"},
		{"/healthz", true, http.StatusOK, "ok"},
	} {
		m.ready.Store(c.ready)
		if status, text := page(t, l.Addr().String(), c.path); status != c.status || !strings.Contains(text, c.says) {
			t.Errorf("%s, listeners served %t: %d %q", c.path, c.ready, status, text)
		}
	}
}
