package points

import "ayumi/steps"

// checkpoint is what a fold was before a day that is likely to change again: the newest one.
type checkpoint struct {
	day steps.Day
	st  State
}

// checkpoints keep histories from beginning months back with every upload. A checkpoint holds as long as
// no day before it changes; a change makes that day dirty, and the fold begins before the checkpoint
// again.
type checkpoints struct {
	most int
	of   map[steps.ParticipantID]checkpoint
}

func newCheckpoints(most int) *checkpoints {
	return &checkpoints{most: most, of: map[steps.ParticipantID]checkpoint{}}
}

// resume begins a fold at its checkpoint, if that is inside what it has to go through.
func (c *checkpoints) resume(f *history) {
	if cp, ok := c.of[f.id]; ok && f.from < cp.day && cp.day <= f.first {
		f.from, f.st = cp.day, cp.st
	}
}

// keep notes the state of a fold before a day.
func (c *checkpoints) keep(f *history, day steps.Day) {
	if len(c.of) >= c.most {
		for id := range c.of { // any: it costs that participant a longer fold
			delete(c.of, id)
			break
		}
	}
	c.of[f.id] = checkpoint{day: day, st: f.st}
}

// forget drops everything: other rules are in force.
func (c *checkpoints) forget() { clear(c.of) }
