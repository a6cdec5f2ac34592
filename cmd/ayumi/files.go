package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// spareFiles is how many open files the connections leave to the store, besides twice as many as it
// has open at the start: a store that cannot open its next file cannot commit, and the gateway ends.
const spareFiles = 256

// fitFiles lowers the numbers of connections, in proportion, to what the limit of open files leaves
// for them, so that strangers cannot take the store's. It reports whether it had to.
func (c *config) fitFiles(limit, open uint64) bool {
	want := uint64(0)
	if c.MQTT.Listen != "" || c.MQTT.ListenTLS != "" {
		want += uint64(c.MQTT.MaxConnections) //nolint:gosec // checked to be positive
	}
	if c.HTTPS.Listen != "" {
		want += uint64(c.HTTPS.MaxConnections) //nolint:gosec // as above
	}
	taken := spareFiles + 2*open
	if want < limit && want+taken <= limit {
		return false
	}
	part := float64(max(limit, taken)-taken) / float64(want)
	c.MQTT.MaxConnections = max(1, int(part*float64(c.MQTT.MaxConnections)))
	c.HTTPS.MaxConnections = max(1, int(part*float64(c.HTTPS.MaxConnections)))
	return true
}

// files returns how many files the process may have open and how many it has.
func files() (limit, open uint64, err error) {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil { // the runtime raised it as far as it goes
		return 0, 0, err
	}
	entries, err := os.ReadDir("/dev/fd")
	return r.Cur, uint64(len(entries)), err
}
