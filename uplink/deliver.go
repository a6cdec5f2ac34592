package uplink

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"ayumi/steps"
)

// Payload is one message as it goes out.
type Payload struct {
	Body     []byte
	Encoding steps.Encoding
	Bundle   bool // a reader's bundle rather than a device's own upload
}

// Ack says what became of one payload.
type Ack struct {
	Index int
	// Reason is the PUBACK's reason code: from 0x80 on the server refused the payload for good. It
	// is always 0 with MQTT 3.1.1 and HTTPS.
	Reason  byte
	Receipt *steps.Receipt // HTTPS only
	Err     error          // nil: the server acknowledged, so the payload is durable there
}

// Retry bounds the attempts of a Deliver.
type Retry struct {
	First    time.Duration  // pause after the first failure; 100 ms when 0
	Max      time.Duration  // longest pause, and the most that a server's Retry-After is heeded; 5 s when 0
	Patience time.Duration  // without any acknowledgement, then it gives up; 1 min when 0
	Jitter   func() float64 // in [0,1), spreads the pauses of many devices; nil spreads nothing
}

func (r *Retry) fill() {
	if r.First == 0 {
		r.First = 100 * time.Millisecond
	}
	if r.Max == 0 {
		r.Max = 5 * time.Second
	}
	if r.Patience == 0 {
		r.Patience = time.Minute
	}
}

// DeliverConfig names the way (exactly one of MQTT and HTTPS) and its patience.
type DeliverConfig struct {
	MQTT  *MQTTConfig
	HTTPS *HTTPS
	Retry Retry
}

// Stats counts what a Deliver did beyond sending each payload once.
type Stats struct {
	Connects int // MQTT connections that a server accepted
	Failures int // attempts that failed: connections refused or lost, posts without an answer
	Resent   int // payloads sent again because their acknowledgement did not come
}

// Deliver sends the payloads 0 to n-1 in that order until each is acknowledged: over MQTT with a
// window, over HTTPS one after the other, reconnecting with growing pauses, so that each arrives at
// least once. payload(i) must return the same bytes each time; they are used until its next call.
//
// report is called exactly once for every payload, never concurrently, possibly before Deliver
// returns and from another goroutine; it must not block. A payload that the server finds invalid is
// reported with its error and the others go on.
//
// The error is nil when no payload was left behind. Otherwise it says why Deliver gave up: ctx
// ended, the credential was refused (Unauthorized), or patience ran out; whatever was not
// acknowledged has been reported with that error.
func Deliver(ctx context.Context, cfg DeliverConfig, n int, payload func(i int) Payload, report func(Ack)) (Stats, error) {
	if (cfg.MQTT == nil) == (cfg.HTTPS == nil) {
		return Stats{}, steps.Errorf("deliver", steps.Invalid, "exactly one of MQTT and HTTPS must be given")
	}
	cfg.Retry.fill()
	d := &delivery{cfg: cfg, payload: payload, report: report, state: make([]state, n), left: n}
	err := d.run(ctx)
	if err != nil {
		d.giveUp(err)
	}
	return d.stats, err
}

// state is how far one payload got.
type state uint8

const (
	unsent state = iota
	sent         // at least once
	over         // reported
)

type delivery struct {
	cfg     DeliverConfig
	payload func(int) Payload
	stats   Stats // Deliver's goroutine only

	mu     sync.Mutex // callbacks come from a connection's reader
	report func(Ack)
	state  []state
	left   int
	acks   int // rises with every payload that is over: progress
}

func (d *delivery) run(ctx context.Context) error {
	pause, seen, since := time.Duration(0), 0, time.Now()
	for d.remaining() > 0 {
		err := d.attempt(ctx)
		if err == nil {
			continue
		}
		if ctx.Err() != nil {
			return steps.E("deliver", steps.Unavailable, context.Cause(ctx))
		}
		if lasting(err) {
			return err
		}
		d.stats.Failures++
		if acks := d.progress(); acks != seen {
			pause, seen, since = 0, acks, time.Now()
		}
		if idle := time.Since(since); idle > d.cfg.Retry.Patience {
			return steps.E("deliver", steps.KindOf(err), fmt.Errorf("nothing was acknowledged for %s: %w", idle.Round(time.Millisecond), err))
		}
		pause = d.nextPause(pause)
		if err := rest(ctx, d.stretch(pause, err)); err != nil {
			return err
		}
	}
	return nil
}

func (d *delivery) nextPause(last time.Duration) time.Duration {
	if last == 0 {
		return d.cfg.Retry.First
	}
	return min(2*last, d.cfg.Retry.Max)
}

// stretch makes a pause longer where the server asked for it, and shorter by up to half at random.
func (d *delivery) stretch(pause time.Duration, err error) time.Duration {
	if j := d.cfg.Retry.Jitter; j != nil {
		pause -= time.Duration(j() * float64(pause) / 2)
	}
	if after, ok := RetryAfter(err); ok {
		pause = max(pause, min(after, d.cfg.Retry.Max))
	}
	return pause
}

func rest(ctx context.Context, pause time.Duration) error {
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return steps.E("deliver", steps.Unavailable, context.Cause(ctx))
	}
}

// lasting reports whether an error would come again however often one tries.
func lasting(err error) bool {
	switch steps.KindOf(err) {
	case steps.Unauthorized, steps.Invalid, steps.NotFound:
		return true
	}
	return false
}

func (d *delivery) attempt(ctx context.Context) error {
	if d.cfg.HTTPS != nil {
		return d.postAll(ctx)
	}
	conn, err := DialMQTT(ctx, *d.cfg.MQTT)
	if err != nil {
		return err
	}
	d.stats.Connects++
	defer func() { _ = conn.Close() }() // what counts has been acknowledged by now, or has not
	return d.publishAll(ctx, conn)
}

var errAgain = errors.New("the server asked to send some payloads again")

func (d *delivery) publishAll(ctx context.Context, conn *MQTT) error {
	for i := range d.state {
		if !d.next(i) {
			continue
		}
		p := d.payload(i)
		err := conn.Publish(ctx, topicOf(d.cfg.MQTT.Device, p), p.Body, func(reason byte, err error) { d.puback(i, reason, err) })
		if err != nil {
			if conn.Err() == nil && steps.KindOf(err) == steps.Invalid {
				d.settle(Ack{Index: i, Err: err}) // too large for this server
				continue
			}
			return err
		}
	}
	if err := conn.Drain(ctx); err != nil {
		return err
	}
	if d.remaining() > 0 {
		return steps.E("deliver", steps.Overload, errAgain)
	}
	return nil
}

// puback takes what a PUBACK, or its absence, says about payload i.
func (d *delivery) puback(i int, reason byte, err error) {
	if err != nil || passing(reason) {
		return // sent again by the next attempt
	}
	d.settle(Ack{Index: i, Reason: reason})
}

// passing reports whether a PUBACK's reason may be another one next time: unspecified error,
// implementation specific error, packet identifier in use, quota exceeded.
func passing(reason byte) bool {
	return reason == 0x80 || reason == 0x83 || reason == 0x91 || reason == 0x97
}

func (d *delivery) postAll(ctx context.Context) error {
	for i := range d.state {
		if !d.next(i) {
			continue
		}
		p := d.payload(i)
		r, err := d.cfg.HTTPS.Post(ctx, p.Body, p.Encoding, p.Bundle)
		switch kind := steps.KindOf(err); {
		case err == nil:
			d.settle(Ack{Index: i, Receipt: r})
		case kind == steps.Invalid || kind == steps.Conflict:
			d.settle(Ack{Index: i, Err: err}) // this one's own fault
		default:
			return err
		}
	}
	return nil
}

// next reports whether payload i is still to be sent, and notes that it is.
func (d *delivery) next(i int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch d.state[i] {
	case over:
		return false
	case sent:
		d.stats.Resent++
	}
	d.state[i] = sent
	return true
}

func (d *delivery) settle(a Ack) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.state[a.Index] == over {
		return
	}
	d.state[a.Index] = over
	d.left--
	d.acks++
	d.report(a)
}

func (d *delivery) remaining() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.left
}

func (d *delivery) progress() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.acks
}

func (d *delivery) giveUp(err error) {
	for i := range d.state {
		d.settle(Ack{Index: i, Err: err})
	}
}
