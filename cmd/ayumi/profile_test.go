package main

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"runtime/debug"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ayumi/store"
)

func TestProfileFor(t *testing.T) {
	for _, c := range []struct {
		profile string
		memory  uint64
		want    string
	}{
		{profileAuto, 512 << 20, profileSmall},
		{profileAuto, 1 << 30, profileSmall},
		{profileAuto, smallBelow - 1, profileSmall},
		{profileAuto, smallBelow, profileLarge},
		{profileAuto, 24 << 30, profileLarge},
		{profileAuto, 0, profileLarge}, // unknown
		{profileSmall, 24 << 30, profileSmall},
		{profileLarge, 1 << 30, profileLarge},
	} {
		cfg := unfitted()
		cfg.Profile = c.profile
		if got := cfg.profileFor(c.memory).name; got != c.want {
			t.Errorf("profile: %s with %d bytes is %s; want %s", c.profile, c.memory, got, c.want)
		}
	}
}

// TestAvailableMemory compares with what the kernel says, of which a control group may leave less.
func TestAvailableMemory(t *testing.T) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		t.Fatal(err)
	}
	all := uint64(info.Totalram) * uint64(info.Unit)
	if n := availableMemory(); n == 0 || n > all {
		t.Errorf("%d bytes are available; the machine has %d", n, all)
	}
}

// TestProfilesOpenStores checks that the store takes what the profiles say.
func TestProfilesOpenStores(t *testing.T) {
	for _, name := range []string{profileSmall, profileLarge} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig()
			was := unfitted()
			cfg.Profile, cfg.Store, cfg.MQTT.MaxConnections = name, was.Store, 0
			cfg.fit(0)
			if err := cfg.check(); err != nil {
				t.Fatal(err)
			}
			want := cfg.profileFor(0)
			if sc := cfg.store(""); sc.MemTableBytes != want.memTableBytes || sc.MemTables != want.memTables ||
				sc.HeadDays != want.headDays || sc.CheckpointBytes != want.checkpointBytes ||
				sc.QueueLen != want.queueLen || sc.GroupBytes != want.groupBytes {
				t.Errorf("the store gets %+v; the profile says %+v", sc, want)
			}
			startGateway(t, cfg, t.TempDir())
		})
	}
}

// TestLargeProfileIsTheDefault: a store that knows no profile is opened as a large one.
func TestLargeProfileIsTheDefault(t *testing.T) {
	p, d := largeProfile(), store.DefaultConfig("")
	if p.queueLen != d.QueueLen || p.groupBytes != d.GroupBytes || p.headDays != d.HeadDays || p.memTables != d.MemTables ||
		p.checkpointBytes != d.CheckpointBytes || p.memTableBytes != d.MemTableBytes {
		t.Errorf("the large profile is %+v; the store's default %+v", p, d)
	}
}

func TestSettingsOverrideProfile(t *testing.T) {
	cfg, err := loadConfig(wrote(t, "config.yaml", []byte("profile: small\nstore:\n  head_days: 7\nmqtt:\n  max_connections: 9\n")))
	if err != nil {
		t.Fatal(err)
	}
	small := smallProfile()
	if cfg.Store.HeadDays != 7 || cfg.MQTT.MaxConnections != 9 {
		t.Errorf("head_days is %d and max_connections %d; want 7 and 9", cfg.Store.HeadDays, cfg.MQTT.MaxConnections)
	}
	if cfg.Store.MemTableBytes != small.memTableBytes || cfg.HTTPS.MaxConnections != small.httpsConnections {
		t.Errorf("mem_table_bytes is %d and https.max_connections %d; want the small profile's", cfg.Store.MemTableBytes, cfg.HTTPS.MaxConnections)
	}
}

// TestExampleConfigTellsProfiles compares the table in config.example.yaml with the profiles.
func TestExampleConfigTellsProfiles(t *testing.T) {
	text, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	told := map[string][2]string{}
	for _, m := range regexp.MustCompile(`(?m)^#   ([a-z_.]+) +(\d+) +(\d+)$`).FindAllStringSubmatch(string(text), -1) {
		told[m[1]] = [2]string{m[2], m[3]}
	}
	for i, p := range []profile{smallProfile(), largeProfile()} {
		for key, value := range map[string]any{
			"mqtt.max_connections": p.mqttConnections, "https.max_connections": p.httpsConnections,
			"https.max_in_flight": p.httpsInFlight, "store.queue_len": p.queueLen, "store.group_bytes": p.groupBytes,
			"store.checkpoint_bytes": p.checkpointBytes, "store.head_days": p.headDays,
			"store.mem_table_bytes": p.memTableBytes, "store.mem_tables": p.memTables,
		} {
			if got := told[key][i]; got != fmt.Sprint(value) {
				t.Errorf("%s of the %s profile is %v; config.example.yaml says %q", key, p.name, value, got)
			}
		}
	}
}

func TestTune(t *testing.T) {
	limit, percent := debug.SetMemoryLimit(-1), debug.SetGCPercent(100)
	debug.SetGCPercent(percent)
	t.Cleanup(func() {
		debug.SetMemoryLimit(limit)
		debug.SetGCPercent(percent)
	})
	for _, c := range []struct {
		name    string
		memory  uint64
		env     map[string]string
		limit   int64
		percent int
		says    string
	}{
		{"small", 1 << 30, nil, 512 << 20, 50, "small (1024 MiB of memory, Go uses at most 512 MiB)"},
		{"nearly large", 4<<30 - 1, nil, 1 << 30, 50, "small (4095 MiB of memory, Go uses at most 1024 MiB)"},
		{"large", 8 << 30, nil, 4 << 30, 200, "large (8192 MiB of memory, Go uses at most 4096 MiB)"},
		{"very large", 128 << 30, nil, 8 << 30, 200, "large (131072 MiB of memory, Go uses at most 8192 MiB)"},
		{"unknown", 0, nil, 0, 200, "large (an unknown amount of memory, Go uses at most all of it)"},
		{"limit of the operator's", 1 << 30, map[string]string{"GOMEMLIMIT": "700MiB"}, 700 << 20, 50, "at most 700 MiB"},
		{"GOGC of the operator's", 1 << 30, map[string]string{"GOGC": "33"}, 512 << 20, 33, "at most 512 MiB"},
	} {
		t.Run(c.name, func(t *testing.T) {
			debug.SetMemoryLimit(math.MaxInt64)
			if c.env["GOMEMLIMIT"] != "" { // as the runtime does when it starts
				debug.SetMemoryLimit(700 << 20)
			}
			debug.SetGCPercent(33)
			cfg := unfitted()
			got := cfg.tune(c.memory, func(key string) string { return c.env[key] })
			if got.limit != c.limit || got.gcPercent != c.percent {
				t.Errorf("Go's limit is %d at %d %%; want %d at %d %%", got.limit, got.gcPercent, c.limit, c.percent)
			}
			if line := got.banner(); !strings.Contains(line, c.says) {
				t.Errorf("the banner says %q; want %q", line, c.says)
			}
		})
	}
}
