package main

import (
	"fmt"
	"log/slog"
	"math"
	"runtime/debug"
	"slices"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// profile is what a machine's memory decides. Settings that are 0 in the config come from it.
type profile struct {
	name string
	// Go may use half of the memory and at most this; the rest is for the page cache, in which
	// Badger's files are read, and for the kernel's side of the connections.
	memoryMost uint64
	gcPercent  int

	mqttConnections, httpsConnections, httpsInFlight int

	queueLen, groupBytes                      int
	headBytes, checkpointBytes, memTableBytes int64
	memTables                                 int
}

const (
	profileAuto  = "auto"
	profileSmall = "small"
	profileLarge = "large"
	// smallBelow is the memory below which auto is small.
	smallBelow = 4 << 30
)

// largeProfile is for a machine of its own. A memtable of 64 MiB is what a transaction's size,
// the checkpoint's pieces and the speed of merging were measured with.
func largeProfile() profile {
	return profile{
		name: profileLarge, memoryMost: 8 << 30, gcPercent: 200,
		mqttConnections: 25_000, httpsConnections: 16_384, httpsInFlight: 1024,
		queueLen: 65_536, groupBytes: 4 << 20, headBytes: 512 << 20,
		checkpointBytes: 64 << 20, memTableBytes: 64 << 20, memTables: 3,
	}
}

// smallProfile is for a virtual server of 1 GiB. Its memtables are 32 MiB because a transaction may
// have 15 % of one, and holds a group beside a piece of a checkpoint.
func smallProfile() profile {
	return profile{
		name: profileSmall, memoryMost: 1 << 30, gcPercent: 50,
		mqttConnections: 6000, httpsConnections: 2048, httpsInFlight: 256,
		queueLen: 16_384, groupBytes: 1 << 20, headBytes: 96 << 20,
		checkpointBytes: 16 << 20, memTableBytes: 32 << 20, memTables: 2,
	}
}

// profileFor picks the profile for so many bytes of memory, 0 standing for unknown.
func (c *config) profileFor(memory uint64) profile {
	if c.Profile == profileSmall || c.Profile == profileAuto && memory > 0 && memory < smallBelow {
		return smallProfile()
	}
	return largeProfile()
}

// fit fills in the settings that the config leaves to the profile.
func (c *config) fit(memory uint64) {
	p := c.profileFor(memory)
	orElse(&c.MQTT.MaxConnections, p.mqttConnections)
	orElse(&c.HTTPS.MaxConnections, p.httpsConnections)
	orElse(&c.HTTPS.MaxInFlight, p.httpsInFlight)
	orElse(&c.Store.QueueLen, p.queueLen)
	orElse(&c.Store.GroupBytes, p.groupBytes)
	orElse(&c.Store.HeadBytes, p.headBytes)
	orElse(&c.Store.CheckpointBytes, p.checkpointBytes)
	orElse(&c.Store.MemTableBytes, p.memTableBytes)
	orElse(&c.Store.MemTables, p.memTables)
}

func orElse[T comparable](setting *T, value T) {
	var zero T
	if *setting == zero {
		*setting = value
	}
}

// availableMemory is what this process may use: the machine's memory, or less if a control group
// says so. 0 is unknown.
func availableMemory() uint64 {
	var known []uint64
	for _, source := range []memlimit.Provider{memlimit.FromCgroup, memlimit.FromSystem} {
		if n, err := source(); err == nil && n > 0 { // no limit, or no control groups, is an error too
			known = append(known, n)
		}
	}
	if len(known) == 0 {
		return 0
	}
	return slices.Min(known)
}

// tuning is what the Go runtime is set to.
type tuning struct {
	profile   profile
	memory    uint64
	limit     int64 // 0 where nobody set one
	gcPercent int
}

// tune sets the Go runtime up for so much memory, except where the operator did it already with
// GOMEMLIMIT and GOGC. It is for a process that is the gateway.
func (c *config) tune(memory uint64, env func(string) string) tuning {
	t := tuning{profile: c.profileFor(memory), memory: memory}
	if env("GOMEMLIMIT") == "" && memory > 0 {
		debug.SetMemoryLimit(int64(min(memory/2, t.profile.memoryMost))) //nolint:gosec // a few GiB
	}
	if env("GOGC") == "" {
		debug.SetGCPercent(t.profile.gcPercent)
	}
	if t.limit = debug.SetMemoryLimit(-1); t.limit == math.MaxInt64 {
		t.limit = 0
	}
	t.gcPercent = debug.SetGCPercent(100)
	debug.SetGCPercent(t.gcPercent)
	return t
}

// banner is the line about memory in the gateway's.
func (t *tuning) banner() string {
	mib := func(n uint64, none string) string {
		if n == 0 {
			return none
		}
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("  %-12s %s (%s of memory, Go uses at most %s)\n", "profile", t.profile.name,
		mib(t.memory, "an unknown amount"), mib(uint64(t.limit), "all of it")) //nolint:gosec // not negative
}

// log notes what was chosen, for whoever reads the log alone.
func (t *tuning) log(l *slog.Logger, c *config) {
	l.Info("profile", "name", t.profile.name, "memory_bytes", t.memory, "go_limit_bytes", t.limit, "gc_percent", t.gcPercent,
		"mem_table_bytes", c.Store.MemTableBytes, "head_bytes", c.Store.HeadBytes, "checkpoint_bytes", c.Store.CheckpointBytes,
		"mqtt_max_connections", c.MQTT.MaxConnections, "https_max_connections", c.HTTPS.MaxConnections)
}
