package mqtt

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"
)

// patience bounds what a test waits for and expects to come.
const patience = 2 * time.Minute

// startServer serves on a free loopback port until the test ends.
func startServer(tb testing.TB, cfg Config, gw Gateway) string {
	tb.Helper()
	_, addr := startServerOn(tb, cfg, gw)
	return addr
}

func startServerOn(tb testing.TB, cfg Config, gw Gateway) (*Server, string) {
	tb.Helper()
	s, err := New(cfg, gw, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		tb.Fatal(err)
	}
	return s, serveOn(tb, s)
}

func serveOn(tb testing.TB, s *Server) (addr string) {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			tb.Error(err)
		}
		if err := <-served; err != nil {
			tb.Error(err)
		}
	})
	return l.Addr().String()
}

func dialRaw(tb testing.TB, addr string) net.Conn {
	tb.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { nc.Close() })
	return nc
}

func mustWrite(tb testing.TB, w io.Writer, b []byte) {
	tb.Helper()
	if _, err := w.Write(b); err != nil {
		tb.Fatal(err)
	}
}

// readConnack reads a CONNACK and fails unless it says success.
func readConnack(tb testing.TB, r io.Reader) []byte {
	tb.Helper()
	p := readRaw(tb, r)
	if p[0] != byte(typeConnack)<<4 || p[3] != 0 {
		tb.Fatalf("CONNACK % x, want success", p)
	}
	return p
}

// readRaw reads one packet shorter than 128 bytes.
func readRaw(tb testing.TB, r io.Reader) []byte {
	tb.Helper()
	p := make([]byte, 2, 130)
	if _, err := io.ReadFull(r, p); err != nil {
		tb.Fatal(err)
	}
	p = p[:2+int(p[1])]
	if _, err := io.ReadFull(r, p[2:]); err != nil {
		tb.Fatal(err)
	}
	return p
}

// packet puts a fixed header before a body.
func packet(t packetType, flags byte, body ...[]byte) []byte {
	b := bytes.Join(body, nil)
	return append(appendVarint([]byte{byte(t)<<4 | flags}, len(b)), b...)
}

func text(s string) []byte { return appendText(nil, s) }

func uint16s(v uint16) []byte { return binary.BigEndian.AppendUint16(nil, v) }

// props is a v5 property block, and nothing in 3.1.1.
func props(level protocolLevel, b ...byte) []byte {
	if level == level311 {
		return nil
	}
	return append(appendVarint(nil, len(b)), b...)
}

func connectPacket(level protocolLevel, client, user, password string, properties ...byte) []byte {
	return packet(typeConnect, 0, text("MQTT"), []byte{byte(level), flagUser | flagPassword | flagCleanStart}, uint16s(60),
		props(level, properties...), text(client), text(user), text(password))
}

func publishPacket(level protocolLevel, qos byte, id uint16, topic string, body []byte) []byte {
	var pid []byte
	if qos > 0 {
		pid = uint16s(id)
	}
	return packet(typePublish, qos<<1, text(topic), pid, props(level), body)
}
