package mqtt

import (
	"math"
	"time"
)

const (
	// untilAllowed holds a publish up for as long as it takes.
	untilAllowed time.Duration = math.MaxInt64
	// controlPause is how long anything but a publish is held up at most. It slows whoever floods
	// with PINGREQ or CONNECT, and answers whoever waits for a publish to get through in good time.
	controlPause = time.Second
	controlUnits = 1 // what a packet that is neither PUBLISH nor CONNECT counts as
)

// throttle holds the connection's reading up while its device has used up its allowance, for a
// while at most. Nothing is refused: what the device sends meanwhile waits in the network. A publish
// that is held up for long gives the reading away, as every other wait in a publish does; see turn.
func (c *conn) throttle(most time.Duration) error {
	allowance, since := c.env.Allowance, time.Now()
	if allowance.Wait(since) == 0 {
		return nil
	}
	c.srv.metrics.throttled.Inc()
	c.mu.Lock()
	defer c.mu.Unlock()
	alarm := time.AfterFunc(math.MaxInt64, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.wakeLocked()
	})
	defer alarm.Stop()
	for c.state < closing && !c.stopping {
		now := time.Now()
		pause := min(allowance.Wait(now), most-now.Sub(since))
		if pause <= 0 {
			return nil
		}
		alarm.Reset(pause)
		c.waitLocked()
	}
	return errEnded
}

// control charges the device for a packet that brings no upload. One that finds the allowance used up
// is held up instead, so that nobody's PINGREQs starve the publish that waits.
func (c *conn) control(units int) error {
	if c.env.Allowance.Wait(c.arrived) > 0 {
		return c.throttle(controlPause)
	}
	c.env.Allowance.Spend(units, c.arrived)
	return nil
}
