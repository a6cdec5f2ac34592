package uplink

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"ayumi/steps"
)

// read is the connection's reader goroutine. It alone reports publishes.
func (c *MQTT) read(br *bufio.Reader) {
	err := c.readPackets(br)
	c.fail(err)
	c.abandon()
	close(c.done)
}

// readPackets hands acknowledgements on in batches: what one read of the socket brought.
func (c *MQTT) readPackets(br *bufio.Reader) error {
	for {
		c.batch = c.batch[:0]
		err := c.readPacket(br)
		for err == nil && wholePacket(br) {
			err = c.readPacket(br)
		}
		// What was read before an error is acknowledged, whatever came after it.
		if err := errors.Join(c.settle(), err); err != nil {
			return err
		}
	}
}

func (c *MQTT) readPacket(br *bufio.Reader) error {
	kind, body, err := peekPacket(br)
	if err != nil {
		if errors.Is(err, io.EOF) {
			return errors.New("the server closed the connection")
		}
		return err
	}
	switch kind {
	case typePuback:
		id, reason, err := parsePuback(body)
		if err != nil {
			return err
		}
		c.batch = append(c.batch, settled{id: id, reason: reason})
	case typePingresp:
		c.mu.Lock()
		c.heard, c.pinged = true, false
		c.mu.Unlock()
	case typeDisconnect:
		code, reason := parseDisconnect(body)
		return &Refusal{Packet: "DISCONNECT", Version: 5, Code: code, Reason: reason}
	default:
		return fmt.Errorf("unexpected packet of type %d", kind)
	}
	_, err = br.Discard(len(body))
	return err
}

// settle reports the batch and frees its identifiers.
func (c *MQTT) settle() error {
	if len(c.batch) == 0 {
		return nil
	}
	n, err := c.claim()
	for i := range c.batch[:n] {
		if f := c.batch[i].acked; f != nil {
			f(c.batch[i].reason, nil)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.batch[:n] {
		c.release(c.batch[i].id)
		c.batch[i].acked = nil // keeps nothing alive until the next acknowledgement
	}
	c.heard = true
	if c.quiet != nil && c.nfree == len(c.free) {
		close(c.quiet)
		c.quiet = nil
	}
	if c.waiting > 0 {
		signal(c.room)
	}
	return err
}

// claim fills in the batch's callbacks up to the first acknowledgement of nothing, and returns how
// many are good.
func (c *MQTT) claim() (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.batch {
		id := int(c.batch[i].id)
		if id == 0 || id > len(c.slots) || !c.slots[id-1].busy {
			return i, fmt.Errorf("PUBACK for packet %d, which is not outstanding", id)
		}
		c.batch[i].acked = c.slots[id-1].acked
		c.slots[id-1] = slot{}
	}
	return len(c.batch), nil
}

func (c *MQTT) release(id uint16) {
	at := c.head + c.nfree
	if at >= len(c.free) {
		at -= len(c.free)
	}
	c.free[at] = id
	c.nfree++
}

// fail ends the connection. The first reason counts.
func (c *MQTT) fail(err error) {
	c.mu.Lock()
	if c.dead == nil {
		kind := steps.Unavailable
		var refusal *Refusal
		if errors.As(err, &refusal) {
			kind = refusal.kind()
		}
		c.dead = steps.E("publish", kind, err)
	}
	c.mu.Unlock()
	_ = c.conn.Close() // a second close, or the error of a connection that is lost anyway
}

// abandon reports every publish that was not acknowledged. Nothing can be added any more: the
// connection is dead.
func (c *MQTT) abandon() {
	c.mu.Lock()
	err := c.dead
	c.watcher.Stop()
	var left []func(byte, error)
	for i := range c.slots {
		if c.slots[i].busy && c.slots[i].acked != nil {
			left = append(left, c.slots[i].acked)
		}
		c.slots[i] = slot{}
	}
	c.mu.Unlock()
	for _, acked := range left {
		acked(0, err)
	}
}

// write is the connection's writer goroutine.
func (c *MQTT) write() {
	defer close(c.written)
	for {
		select {
		case <-c.kick:
			c.flush()
		case <-c.done:
			return
		}
	}
}

// flush writes what has gathered. While it writes, publishers fill the other buffer.
func (c *MQTT) flush() {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	c.mu.Lock()
	b := c.out
	c.out = c.spare[:0]
	c.mu.Unlock()
	c.spare = b
	if len(b) == 0 {
		return
	}
	if _, err := c.conn.Write(b); err != nil {
		c.fail(err)
	}
}

// watch runs every tick: it pings an idle connection and ends one that stays silent while something
// is unanswered.
func (c *MQTT) watch() {
	c.mu.Lock()
	if c.dead != nil {
		c.mu.Unlock()
		return
	}
	owed := c.nfree < len(c.free) || c.pinged
	if c.heard || !owed {
		c.silent = 0
	} else {
		c.silent += c.tick
	}
	if c.wrote {
		c.unsent = 0
	} else {
		c.unsent += c.tick
	}
	c.heard, c.wrote = false, false
	if c.cfg.KeepAlive > 0 && c.unsent >= c.cfg.KeepAlive/2 {
		c.out = append(c.out, headPingreq, 0)
		c.pinged, c.unsent = true, 0
		signal(c.kick)
	}
	mute := c.silent > c.cfg.Timeout
	if !mute {
		c.watcher.Reset(c.tick)
	}
	c.mu.Unlock()
	if mute {
		c.fail(fmt.Errorf("the server stayed silent for %s with something unanswered", c.cfg.Timeout))
	}
}
