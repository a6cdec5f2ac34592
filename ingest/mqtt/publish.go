package mqtt

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"ayumi/steps"
)

const topicPrefix = "ayumi/v1/"

// turn says what the reading goroutine does: state in the lowest two bits, above them a count of
// the publishes, so that the server's watch can tell one that hangs from many that are quick.
//
// A reader that waits in a publish (a full queue, a full window) cannot answer PINGREQ. The watch
// then hands the connection over: a new goroutine reads on, answers PINGREQ, sees the peer close,
// and waits at the next PUBLISH until the first one is through. Publishes stay in order and at
// most one waits; whoever comes first, reader or watch, wins one compare-and-swap.
type turn struct {
	v    atomic.Uint64
	seen uint64 // the watch's: v at its last look
}

const (
	turnReading    = 0
	turnPublishing = 1
	turnHandedOver = 2
	turnState      = 3
)

// begin marks the start of a publish.
func (t *turn) begin() uint64 {
	v := t.v.Load()&^turnState + turnState + 1 | turnPublishing
	t.v.Store(v)
	return v
}

// end marks its end and reports whether the caller still is the reader.
func (t *turn) end(v uint64) bool { return t.v.CompareAndSwap(v, v&^turnState|turnReading) }

// steal takes the reading away from a goroutine that is in the same publish as at the last look.
func (t *turn) steal() bool {
	v := t.v.Load()
	stuck := v&turnState == turnPublishing && v == t.seen
	t.seen = v
	return stuck && t.v.CompareAndSwap(v, v&^turnState|turnHandedOver)
}

func (t *turn) handedOver() bool { return t.v.Load()&turnState == turnHandedOver }

// giveUp ends the publish of a goroutine whose reading was taken away.
func (t *turn) giveUp(v uint64) { t.v.Store(v&^turnState | turnReading) }

// publish brings one PUBLISH to the gateway.
func (c *conn) publish(p publish) error {
	if c.turn.handedOver() {
		c.mu.Lock()
		for c.turn.handedOver() {
			c.waitLocked()
		}
		c.mu.Unlock()
	}
	arrived := c.arrived // another goroutine may read on before it is used
	v := c.turn.begin()
	err := c.deliver(p, arrived)
	if c.turn.end(v) {
		return err
	}
	if err != nil && err != errEnded {
		c.endWith(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turn.giveUp(v)
	c.cond.Broadcast()
	return errHandedOver
}

// delivery is the ingest.Completion of one PUBLISH.
type delivery struct {
	c   *conn
	seq uint32
	id  uint16
	qos byte
	enc steps.Encoding
	// abandoned says that Submit panicked: the publish is accounted for, although it may have
	// been queued. The connection's mu guards it.
	abandoned bool
}

var deliveries = sync.Pool{New: func() any { return new(delivery) }}

func (c *conn) deliver(p publish, arrived time.Time) error {
	if len(p.body) > loopBytes {
		c.leave()
	}
	if c.env.Allowance.Wait(arrived) > 0 {
		if err := c.throttle(untilAllowed); err != nil {
			return err
		}
	}
	seq, err := c.admit(p.qos)
	if err != nil {
		return err
	}
	c.srv.metrics.publishes[p.qos].Inc()
	c.env.Encoding, c.env.Bundle, c.env.Topic = c.route(p.topic)
	c.env.ReceivedAt, c.env.Body = arrived, p.body
	d := deliveries.Get().(*delivery)
	*d = delivery{c: c, seq: seq, id: p.id, qos: p.qos, enc: c.env.Encoding}
	err = c.submit(d)
	c.env.Body = nil
	if err == nil {
		return nil
	}
	codes := codesOf(steps.KindOf(err))
	c.srv.log.Debug("mqtt publish not taken", slog.String("device", string(c.env.Identity.Device)), slog.Any("err", err))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inFlight--
	c.stopLocked(codes.cause, codes.disconnect)
	if c.stopping && c.inFlight == 0 {
		c.endLocked(c.stopWhy, c.stopCode)
	}
	return errEnded
}

// admit waits until the window has room for one more publish and takes it.
func (c *conn) admit(qos byte) (seq uint32, err error) {
	limit := c.srv.cfg.ReceiveMaximum
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case c.state >= closing || c.stopping:
			return 0, errEnded
		case qos == 0 && c.qos0 < limit:
			c.qos0++
		case qos > 0 && c.unacked < limit:
			c.unacked++
		case qos > 0 && c.level == level5: // MQTT-3.3.4-7
			return 0, errWindow
		default:
			c.waitLocked()
			continue
		}
		c.inFlight++
		c.submitted++
		return c.submitted, nil
	}
}

// route maps a topic. One that is none of the device's is returned, for the quarantine.
func (c *conn) route(topic []byte) (enc steps.Encoding, bundle bool, foreign string) {
	if n := len(c.ownTopics); len(topic) > n && string(topic[:n]) == c.ownTopics {
		switch string(topic[n:]) {
		case "up/pb":
			return steps.Protobuf, false, ""
		case "up/json":
			return steps.JSON, false, ""
		case "bundle/pb":
			return steps.Protobuf, true, ""
		case "bundle/json":
			return steps.JSON, true, ""
		}
	}
	return 0, false, string(topic)
}

// submit calls the gateway. A panic in it is an error of this connection alone.
func (c *conn) submit(d *delivery) (err error) {
	queued := false
	defer func() {
		if r := recover(); r != nil {
			c.panicked(r)
			c.mu.Lock()
			d.abandoned = true
			c.mu.Unlock()
			err = errEnded
		} else if !queued {
			deliveries.Put(d)
		}
	}()
	err = c.srv.gw.Submit(c.ctx, &c.env, d)
	queued = err == nil
	return err
}

// Complete is called by the store's committer. It takes the connection's lock, which is never
// held across anything that waits, and leaves the writing to others, whom Flush tells once the
// connection's other PUBACKs of the commit are there too.
func (d *delivery) Complete(r *steps.Receipt, err error) (later steps.Flusher) {
	c, seq, id, qos, enc := d.c, d.seq, d.id, d.qos, d.enc
	device := c.key.device
	c.mu.Lock()
	if d.abandoned {
		c.mu.Unlock()
		return nil
	}
	deliveries.Put(d)
	c.inFlight--
	c.completed++
	orphan := c.state == finished
	acked := false
	switch {
	case c.state >= closing:
	case err != nil:
		codes := codesOf(steps.KindOf(err))
		c.endLocked(codes.cause, codes.disconnect)
	case seq != c.completed: // then PUBACKs would not follow PUBLISH order: a bug of the gateway's
		c.endLocked(causeCommitFailed, codeUnspecified)
	default:
		acked = qos > 0
		if acked {
			c.acknowledgeLocked(r, id)
		}
	}
	if qos == 0 {
		c.qos0--
		c.wakeLocked()
	}
	if c.stopping && c.inFlight == 0 {
		c.endLocked(c.stopWhy, c.stopCode)
	}
	if acked && !c.out.due && !c.out.writing {
		c.out.due, later = true, c
	}
	c.mu.Unlock()

	if err == nil {
		c.srv.subscribers.publish(device, r, enc)
	}
	if acked {
		c.srv.metrics.pubacks[classOf(pubackCode(r.Refusal()))].Inc()
	}
	if orphan {
		c.srv.settleOrphan()
	}
	return later
}

// Flush implements steps.Flusher: it has the PUBACKs of a commit written, by others.
func (c *conn) Flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out.due = false
	c.flushLocked()
}

// acknowledgeLocked appends the PUBACK.
func (c *conn) acknowledgeLocked(r *steps.Receipt, id uint16) {
	code, text := codeSuccess, ""
	if c.level == level5 {
		code = pubackCode(r.Refusal())
	}
	if code != codeSuccess && c.problemInfo { // MQTT-3.1.2-29
		text = reasonString(firstFault(r))
	}
	if size := 9 + len(text); c.maximumPacket > 0 && size > int(c.maximumPacket) { // MQTT-3.4.2-2
		text = ""
	}
	out := c.out.buffer()
	out.b = appendPuback(out.b, id, code, text)
	c.out.pubacks++
}

// firstFault returns the detail of the fault that Receipt.Refusal takes its reason from.
func firstFault(r *steps.Receipt) string {
	for i := range r.Uploads {
		if f := r.Uploads[i].Faults; len(f) > 0 {
			return f[0].Detail
		}
	}
	return ""
}
