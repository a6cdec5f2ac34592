// Package uplinktest is an MQTT server for tests of clients: it acknowledges everything at once, or
// does what a script says: refuses, stays silent, reorders, drops the connection before a PUBACK.
//
// Invariants: without a script it acknowledges in order, and writes when it has read all there is,
// so that it costs a benchmark little. Close ends every connection and waits for them.
//
// Caveats: it trusts its client and checks next to nothing; it delivers nothing to anybody.
package uplinktest

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// Connect is what a client said in its CONNECT.
type Connect struct {
	Conn      int // counted from 0 over the server's life
	Version   byte
	KeepAlive uint16 // seconds
	ClientID  string
	User      string
	Password  string
}

// Publish is one PUBLISH of QoS 1.
type Publish struct {
	Conn    int // its connection
	N       int // its number in the connection, from 0
	ID      uint16
	User    string
	Topic   string
	Payload []byte // valid until the script returns
}

// Ack is a PUBACK to send.
type Ack struct {
	ID     uint16
	Reason byte // MQTT 5 only
}

// Answer is what a script has the server do after a packet.
type Answer struct {
	Acks []Ack
	Raw  []byte // sent as it is, after the acks
	Drop bool   // then close the connection
}

// Script decides what the server does. Nil functions accept and acknowledge. They are called from
// the connections' goroutines.
type Script struct {
	Connect func(Connect) (code byte, properties []byte) // properties: of an MQTT 5 CONNACK
	Publish func(Publish) Answer
	NoPong  bool // leaves PINGREQ unanswered
}

// Server is a scripted server.
type Server struct {
	script   Script
	listener net.Listener
	wg       sync.WaitGroup
	conns    atomic.Int64
	pings    atomic.Int64
	mu       sync.Mutex
	open     map[net.Conn]struct{} // nil once closed
}

// New returns a server that listens nowhere: give it connections with Serve.
func New(script Script) *Server {
	return &Server{script: script, open: map[net.Conn]struct{}{}}
}

// Listen returns a server on addr, such as 127.0.0.1:0; conf nil is plain TCP.
func Listen(addr string, conf *tls.Config, script Script) (*Server, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	if conf != nil {
		l = tls.NewListener(l, conf)
	}
	s := New(script)
	s.listener = l
	s.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.wg.Go(func() { s.Serve(conn) })
		}
	})
	return s, nil
}

// Addr is where the server listens.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Conns returns how many connections there have been.
func (s *Server) Conns() int { return int(s.conns.Load()) }

// Pings returns how many PINGREQs there have been.
func (s *Server) Pings() int { return int(s.pings.Load()) }

// Close ends all connections without a word, as a killed server does.
func (s *Server) Close() {
	if s.listener != nil {
		_ = s.listener.Close()
	}
	s.mu.Lock()
	for conn := range s.open {
		_ = conn.Close()
	}
	s.open = nil
	s.mu.Unlock()
	s.wg.Wait()
}

// Serve handles one connection until it ends.
func (s *Server) Serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	s.mu.Lock()
	if s.open == nil {
		s.mu.Unlock()
		return
	}
	s.open[conn] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.open, conn)
		s.mu.Unlock()
	}()
	p := peer{s: s, r: bufio.NewReaderSize(conn, 32<<10), w: conn}
	p.hello.Conn = int(s.conns.Add(1)) - 1
	_ = p.serve() // how a connection ends is the client's affair
}

type peer struct {
	s     *Server
	r     *bufio.Reader
	w     io.Writer
	hello Connect
	n     int
	body  []byte
	out   []byte
}

var errDrop = errors.New("dropped by the script")

func (p *peer) serve() error {
	if err := p.connect(); err != nil {
		return err
	}
	for {
		head, err := p.next()
		if err != nil {
			return err
		}
		switch head >> 4 {
		case 3:
			err = p.publish()
		case 12:
			p.s.pings.Add(1)
			if !p.s.script.NoPong {
				p.out = append(p.out, 0xD0, 0)
			}
		case 14:
			return nil
		}
		if err != nil || p.r.Buffered() == 0 || len(p.out) > 32<<10 {
			if err := errors.Join(p.flush(), err); err != nil {
				return err
			}
		}
	}
}

func (p *peer) flush() error {
	if len(p.out) == 0 {
		return nil
	}
	_, err := p.w.Write(p.out)
	p.out = p.out[:0]
	return err
}

// next reads one packet into p.body and returns its first byte.
func (p *peer) next() (byte, error) {
	head, err := p.r.ReadByte()
	if err != nil {
		return 0, err
	}
	n, err := binary.ReadUvarint(p.r) // the same code as MQTT's remaining length
	if err != nil {
		return 0, err
	}
	if int(n) > cap(p.body) {
		p.body = make([]byte, n)
	}
	p.body = p.body[:n]
	_, err = io.ReadFull(p.r, p.body)
	return head, err
}

func (p *peer) connect() error {
	if _, err := p.next(); err != nil {
		return err
	}
	b := p.body
	_, b = text(b)
	p.hello.Version, p.hello.KeepAlive = b[0], binary.BigEndian.Uint16(b[2:])
	b = b[4:]
	if p.hello.Version == 5 {
		b = b[1+int(b[0]):]
	}
	p.hello.ClientID, b = text(b)
	p.hello.User, b = text(b)
	p.hello.Password, _ = text(b)
	var code byte
	var props []byte
	if f := p.s.script.Connect; f != nil {
		code, props = f(p.hello)
	}
	if p.hello.Version == 5 {
		p.out = append(p.out, 0x20, byte(3+len(props)), 0, code, byte(len(props)))
		p.out = append(p.out, props...)
	} else {
		p.out = append(p.out, 0x20, 2, 0, code)
	}
	if err := p.flush(); err != nil {
		return err
	}
	if code != 0 {
		return errDrop
	}
	return nil
}

func (p *peer) publish() error {
	b := p.body
	topic := b[2 : 2+int(binary.BigEndian.Uint16(b))]
	b = b[2+len(topic):]
	id := binary.BigEndian.Uint16(b)
	b = b[2:]
	if p.hello.Version == 5 {
		b = b[1+int(b[0]):]
	}
	if p.s.script.Publish == nil {
		p.ack(Ack{ID: id})
		return nil
	}
	a := p.s.script.Publish(Publish{Conn: p.hello.Conn, N: p.n, ID: id, User: p.hello.User, Topic: string(topic), Payload: b})
	p.n++
	for _, ack := range a.Acks {
		p.ack(ack)
	}
	p.out = append(p.out, a.Raw...)
	if a.Drop {
		return errDrop
	}
	return nil
}

func (p *peer) ack(a Ack) {
	if p.hello.Version == 5 && a.Reason != 0 {
		p.out = append(p.out, 0x40, 3, byte(a.ID>>8), byte(a.ID), a.Reason)
		return
	}
	p.out = append(p.out, 0x40, 2, byte(a.ID>>8), byte(a.ID))
}

func text(b []byte) (string, []byte) {
	n := int(binary.BigEndian.Uint16(b))
	return string(b[2 : 2+n]), b[2+n:]
}
