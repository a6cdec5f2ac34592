//go:build !race

package store

// raceEnabled says whether the race detector is on, with which sync.Pool forgets on purpose.
const raceEnabled = false
