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
	var most []*int
	if c.MQTT.Listen != "" || c.MQTT.ListenTLS != "" {
		most = append(most, &c.MQTT.MaxConnections)
	}
	if c.HTTPS.Listen != "" {
		most = append(most, &c.HTTPS.MaxConnections)
	}
	want, taken := uint64(0), spareFiles+2*open
	for _, n := range most {
		want += uint64(*n) //nolint:gosec // checked to be positive
	}
	if want < limit && want+taken <= limit {
		return false
	}
	part := float64(max(limit, taken)-taken) / float64(want)
	for _, n := range most {
		*n = max(1, int(part*float64(*n)))
	}
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
