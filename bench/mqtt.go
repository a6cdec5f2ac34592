package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

// MQTT packet types, the upper half of a packet's first byte.
const (
	connackType    = 2
	pubackType     = 4
	disconnectType = 14
)

var errProtocol = errors.New("the server broke the protocol")

// publisher is one MQTT connection. One goroutine owns it and alternates between a write of all that
// is due and has room in the window, and a read of all PUBACKs that came: two syscalls a round, and
// a round is as many messages as the server acknowledges together.
type publisher struct {
	index    int
	conn     net.Conn
	template *template
	meter    *meter
	pace     pace
	started  time.Time
	deadline time.Time // of the whole run

	packet int    // bytes of one PUBLISH
	id     int    // offset of the packet identifier in it
	body   int    // offset of the payload in it
	out    []byte // room for a whole window of packets
	in     []byte
	have   int // unread bytes in in

	due   []time.Duration // by packet identifier less one: when the message was due; -1 when it is free
	free  []uint16        // a ring of packet identifiers
	head  int
	nfree int
}

// newPublisher lays the window's packets out, each ready but for what changes.
func newPublisher(c *Config, index int, m *meter) *publisher {
	client := &c.Clients[index]
	p := &publisher{
		index: index, meter: m, pace: newPace(c, index), in: make([]byte, readBuffer),
		template: newTemplate(c, client, newRandom(index)),
	}
	topic := strings.ReplaceAll(c.Topic, "{client}", client.ID)
	n := 2 + len(topic) + 2 + len(p.template.body)
	if c.Version == 5 {
		n++
	}
	one := binary.AppendUvarint([]byte{0x32}, uint64(n)) // PUBLISH, QoS 1; the length has the same code
	one = appendText(one, topic)
	p.id = len(one)
	one = append(one, 0, 0)
	if c.Version == 5 {
		one = append(one, 0) // no properties
	}
	p.body = len(one)
	one = append(one, p.template.body...)
	p.packet = len(one)
	p.window(c.Window)
	for range c.Window {
		p.out = append(p.out, one...)
	}
	return p
}

// window sets how many messages may be unacknowledged.
func (p *publisher) window(n int) {
	p.due, p.free, p.head, p.nfree = make([]time.Duration, n), make([]uint16, n), 0, n
	for i := range p.free {
		p.due[i], p.free[i] = -1, uint16(i+1)
	}
}

func (p *publisher) begin(started, deadline time.Time) { p.started, p.deadline = started, deadline }

func (p *publisher) close() {
	if p.conn != nil {
		_ = p.conn.Close() // the run is given up
	}
}

// run publishes until the end and then until everything is acknowledged.
func (p *publisher) run(context.Context) {
	err := p.loop()
	unacked := uint64(len(p.due) - p.nfree)
	if err != nil {
		p.meter.fail(p.index, err, unacked)
	}
	_, _ = p.conn.Write([]byte{disconnectType << 4, 0}) // whoever is gone need not be told
	_ = p.conn.Close()
}

func (p *publisher) loop() error {
	if err := p.conn.SetWriteDeadline(p.deadline); err != nil {
		return err
	}
	until := time.Time{} // the read deadline that stands
	for {
		next, more, err := p.publish()
		if err != nil {
			return err
		}
		if !more && p.nfree == len(p.due) {
			return nil
		}
		wait := p.deadline
		if more && p.nfree > 0 {
			wait = p.started.Add(next)
		}
		if !wait.Equal(until) {
			if err := p.conn.SetReadDeadline(wait); err != nil {
				return err
			}
			until = wait
		}
		if err := p.acknowledged(); err != nil && (!errors.Is(err, os.ErrDeadlineExceeded) || until.Equal(p.deadline)) {
			return err
		}
	}
}

// publish sends what is due and has room, with one write. It returns when the next message is due,
// and whether there is one.
func (p *publisher) publish() (next time.Duration, more bool, err error) {
	now := time.Since(p.started)
	size := 0
	for {
		next, more = p.pace.due(now)
		if !more || next > now || p.nfree == 0 {
			break
		}
		id := p.free[p.head]
		p.head = (p.head + 1) % len(p.free)
		p.nfree--
		p.due[id-1] = next
		packet := p.out[size : size+p.packet]
		binary.BigEndian.PutUint16(packet[p.id:], id)
		p.template.patch(packet[p.body:], p.pace.n)
		p.pace.n++
		size += p.packet
	}
	if size > 0 {
		_, err = p.conn.Write(p.out[:size])
	}
	return next, more, err
}

// acknowledged reads once and counts the PUBACKs that came.
func (p *publisher) acknowledged() error {
	n, err := p.conn.Read(p.in[p.have:])
	if err != nil {
		return err
	}
	p.have += n
	now := time.Since(p.started)
	b, acks := p.in[:p.have], uint64(0)
	same, took := uint64(0), time.Duration(-1) // messages in a row that were due together
	for len(b) >= 2 && len(b) >= 2+int(b[1]) && b[1] < 0x80 {
		body := b[2 : 2+b[1]]
		if b[0]>>4 == pubackType {
			due, err := p.settle(body)
			if err != nil {
				return err
			}
			if now-due != took {
				p.meter.latency(p.index, now, took, same)
				same, took = 0, now-due
			}
			same++
			acks++
		} else if err := unexpected(b[0]>>4, body); err != nil {
			return err
		}
		b = b[2+len(body):]
	}
	p.meter.latency(p.index, now, took, same)
	p.meter.ack(now, acks)
	p.have = copy(p.in, b)
	if p.have == len(p.in) || len(b) >= 2 && b[1] >= 0x80 {
		return fmt.Errorf("a packet too large for an acknowledgement: %w", errProtocol)
	}
	return nil
}

// settle takes one PUBACK and returns when its message was due.
func (p *publisher) settle(body []byte) (time.Duration, error) {
	if len(body) < 2 {
		return 0, fmt.Errorf("PUBACK of %d bytes: %w", len(body), errProtocol)
	}
	id := binary.BigEndian.Uint16(body)
	if id == 0 || int(id) > len(p.due) || p.due[id-1] < 0 {
		return 0, fmt.Errorf("PUBACK for packet %d, which is not under way: %w", id, errProtocol)
	}
	due := p.due[id-1]
	p.due[id-1] = -1
	p.free[(p.head+p.nfree)%len(p.free)] = id
	p.nfree++
	if len(body) > 2 && body[2] >= 0x80 {
		p.meter.refuse(p.meter.bundle, fmt.Errorf("PUBACK with reason 0x%02X", body[2]))
	}
	return due, nil
}

// unexpected judges a packet that is no PUBACK. PINGRESP and the like pass.
func unexpected(kind byte, body []byte) error {
	if kind != disconnectType {
		return nil
	}
	if len(body) > 0 {
		return fmt.Errorf("the server disconnected with reason 0x%02X", body[0])
	}
	return errors.New("the server disconnected")
}

// steps returns what a gateway holds of the connection's devices, when all is acknowledged.
func (p *publisher) steps() uint64 { return p.template.steps(p.pace.n) }
