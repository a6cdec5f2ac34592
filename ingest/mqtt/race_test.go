//go:build race

package mqtt

// raceEnabled says whether the race detector is on, with which sync.Pool forgets on purpose.
const raceEnabled = true
