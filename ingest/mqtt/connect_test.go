package mqtt

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
)

// rawConnect builds a CONNECT from its parts.
func rawConnect(name string, level, flags byte, properties []byte, payload ...[]byte) []byte {
	return packet(typeConnect, 0, text(name), []byte{level, flags}, uint16s(60), properties, bytes.Join(payload, nil))
}

func TestConnectRefused(t *testing.T) {
	up := byte(flagUser | flagPassword | flagCleanStart)
	none := []byte{0}
	tests := []struct {
		name   string
		packet []byte
		want   []byte // nil: closed without an answer
	}{
		{"3.1.1 wrong secret", connectPacket(level311, "c", "device", "wrong"), []byte{0x20, 2, 0, 5}},
		{"3.1.1 unavailable", connectPacket(level311, "c", "device", "down"), []byte{0x20, 2, 0, 3}},
		{"3.1.1 no user", rawConnect("MQTT", 4, flagCleanStart, nil, text("c")), []byte{0x20, 2, 0, 4}},
		{"3.1.1 no password", rawConnect("MQTT", 4, flagCleanStart|flagUser, nil, text("c"), text("device")), []byte{0x20, 2, 0, 4}},
		{"3.1.1 empty password", connectPacket(level311, "c", "device", ""), []byte{0x20, 2, 0, 4}},
		{"3.1.1 user is no device id", connectPacket(level311, "c", "a/b", "secret"), []byte{0x20, 2, 0, 4}},
		{"3.1.1 password without user", rawConnect("MQTT", 4, flagCleanStart|flagPassword, nil, text("c"), text("secret")), nil},
		{"3.1.1 no client id, no clean session", rawConnect("MQTT", 4, flagUser|flagPassword, nil, text(""), text("device"), text("secret")), []byte{0x20, 2, 0, 2}},
		{"3.1.1 reserved flag", rawConnect("MQTT", 4, up|flagReserved, nil, text("c"), text("device"), text("secret")), nil},
		{"3.1.1 bytes too many", rawConnect("MQTT", 4, up, nil, text("c"), text("device"), text("secret"), none), nil},
		{"3.1.1 U+0000 in client id", connectPacket(level311, "c\x00", "device", "secret"), nil},
		{"3.1.1 surrogate in user", connectPacket(level311, "c", "\xed\xa0\x80", "secret"), nil},
		{"level 3", rawConnect("MQTT", 3, up, nil, text("c"), text("device"), text("secret")), []byte{0x20, 2, 0, 1}},
		{"MQIsdp", rawConnect("MQIsdp", 3, up, nil, text("c"), text("device"), text("secret")), []byte{0x20, 2, 0, 1}},
		{"level 6", rawConnect("MQTT", 6, up, none, text("c"), text("device"), text("secret")), []byte{0x20, 3, 0, 0x84, 0}},
		{"another protocol", rawConnect("HTTP", 4, up, nil, text("c"), text("device"), text("secret")), nil},
		{"5 wrong secret", connectPacket(level5, "c", "device", "wrong"), []byte{0x20, 3, 0, 0x86, 0}},
		{"5 unavailable", connectPacket(level5, "c", "device", "down"), []byte{0x20, 3, 0, 0x88, 0}},
		{"5 busy", connectPacket(level5, "c", "device", "busy"), []byte{0x20, 3, 0, 0x89, 0}},
		{"5 no user", rawConnect("MQTT", 5, flagCleanStart, none, text("c")), []byte{0x20, 3, 0, 0x86, 0}},
		{"5 password without user", rawConnect("MQTT", 5, flagCleanStart|flagPassword, none, text("c"), text("secret")), []byte{0x20, 3, 0, 0x86, 0}},
		{"5 authentication method", connectPacket(level5, "c", "device", "secret", 0x15, 0, 1, 'x'), []byte{0x20, 3, 0, 0x8C, 0}},
		{"5 authentication data alone", connectPacket(level5, "c", "device", "secret", 0x16, 0, 1, 'x'), []byte{0x20, 3, 0, 0x82, 0}},
		{"5 property twice", connectPacket(level5, "c", "device", "secret", 0x21, 0, 1, 0x21, 0, 1), []byte{0x20, 3, 0, 0x82, 0}},
		{"5 receive maximum 0", connectPacket(level5, "c", "device", "secret", 0x21, 0, 0), []byte{0x20, 3, 0, 0x82, 0}},
		{"5 property of another packet", connectPacket(level5, "c", "device", "secret", 0x23, 0, 1), []byte{0x20, 3, 0, 0x81, 0}},
		{"5 tiny maximum packet", connectPacket(level5, "c", "device", "secret", 0x27, 0, 0, 0, 20), []byte{0x20, 3, 0, 0x83, 0}},
		{"5 property length beyond the packet", rawConnect("MQTT", 5, up, []byte{200, 1}, text("c")), []byte{0x20, 3, 0, 0x81, 0}},
		{"5 will QoS 3", rawConnect("MQTT", 5, up|flagWill|flagWillQoS, none, text("c")), []byte{0x20, 3, 0, 0x81, 0}},
		{"PUBLISH first", publishPacket(level311, 1, 1, "t", nil), nil},
		{"larger than 4 KiB", connectPacket(level311, strings.Repeat("c", 5000), "device", "secret"), nil},
		{"reserved type", []byte{0x00, 0}, nil},
		{"five bytes of length", []byte{0x10, 0xff, 0xff, 0xff, 0xff, 0x01}, nil},
	}
	addr := startServer(t, DefaultConfig(), newFake())
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			nc := dialRaw(t, addr)
			mustWrite(t, nc, tt.packet)
			if tt.want != nil {
				if got := readRaw(t, nc); !bytes.Equal(got, tt.want) {
					t.Fatalf("got % x, want % x", got, tt.want)
				}
			}
			wantClosed(t, nc)
		})
	}
}

func TestConnectAccepted(t *testing.T) {
	will := bytes.Join([][]byte{text("will/topic"), text("gone")}, nil)
	up := byte(flagUser | flagPassword)
	tests := []struct {
		name   string
		packet []byte
	}{
		{"3.1.1", connectPacket(level311, "c", "device", "secret")},
		{"3.1.1 no client id", connectPacket(level311, "", "device", "secret")},
		{"3.1.1 clean session 0", rawConnect("MQTT", 4, up, nil, text("c"), text("device"), text("secret"))},
		{"3.1.1 will with QoS 2 and retain", rawConnect("MQTT", 4, up|flagWill|0x10|flagWillRetain, nil, text("c"), will, text("device"), text("secret"))},
		{"5", connectPacket(level5, "c", "device", "secret")},
		{"5 will", rawConnect("MQTT", 5, up|flagWill, []byte{0}, text("c"), []byte{5, 0x18, 0, 0, 0, 9}, will, text("device"), text("secret"))},
		{"5 all properties", connectPacket(level5, "c", "device", "secret", 0x11, 0, 0, 0, 9, 0x21, 0, 9, 0x27, 0, 1, 0, 0, 0x22, 0, 9,
			0x19, 1, 0x17, 1, 0x26, 0, 1, 'k', 0, 1, 'v', 0x26, 0, 1, 'k', 0, 1, 'v')},
	}
	addr := startServer(t, DefaultConfig(), newFake())
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			nc := dialRaw(t, addr)
			mustWrite(t, nc, tt.packet)
			if p := readConnack(t, nc); p[2] != 0 {
				t.Fatalf("CONNACK % x says that a session is present", p)
			}
			mustWrite(t, nc, packet(typeDisconnect, 0))
			wantClosed(t, nc)
		})
	}
}

func TestConnackProperties(t *testing.T) {
	cfg := DefaultConfig()
	cfg.ReceiveMaximum, cfg.KeepAliveDefault, cfg.KeepAliveMax = 17, 20*time.Second, 40*time.Second
	addr := startServer(t, cfg, newFake())
	connect := func(t *testing.T, id string, keepAlive uint16, properties ...byte) *packets.Connack {
		c := &client{t, dialRaw(t, addr), level5, id}
		c.send(packet(typeConnect, 0, text("MQTT"), []byte{5, flagUser | flagPassword}, uint16s(keepAlive),
			props(level5, properties...), text(id), text("device"), text("secret")))
		p, ok := c.recv5().(*packets.Connack)
		if !ok || p.ReasonCode != 0 || p.SessionPresent {
			t.Fatalf("got %v", p)
		}
		return p
	}
	t.Run("limits", func(t *testing.T) {
		p := connect(t, "c", 30).Properties
		if *p.ReceiveMaximum != 17 || *p.MaximumQOS != 1 || *p.RetainAvailable != 0 ||
			*p.MaximumPacketSize != uint32(cfg.MaxPacketBytes) || *p.WildcardSubAvailable != 0 ||
			*p.SubIDAvailable != 0 || *p.SharedSubAvailable != 0 || p.TopicAliasMaximum != nil {
			t.Errorf("got %v", p)
		}
		if p.AssignedClientID != "" || p.ServerKeepAlive != nil || p.SessionExpiryInterval != nil {
			t.Errorf("got %v, want nothing that changes what the client asked for", p)
		}
	})
	t.Run("assigned client id", func(t *testing.T) {
		a, b := connect(t, "", 30).Properties.AssignedClientID, connect(t, "", 30).Properties.AssignedClientID
		if a == "" || a == b {
			t.Errorf("assigned %q and %q", a, b)
		}
	})
	t.Run("keep alive 0", func(t *testing.T) {
		if p := connect(t, "c", 0).Properties; p.ServerKeepAlive == nil || *p.ServerKeepAlive != 20 {
			t.Errorf("got %v", p)
		}
	})
	t.Run("keep alive too long", func(t *testing.T) {
		if p := connect(t, "c", 41).Properties; p.ServerKeepAlive == nil || *p.ServerKeepAlive != 40 {
			t.Errorf("got %v", p)
		}
	})
	t.Run("session asked for", func(t *testing.T) {
		if p := connect(t, "c", 30, 0x11, 0, 0, 0, 9).Properties; p.SessionExpiryInterval == nil || *p.SessionExpiryInterval != 0 {
			t.Errorf("got %v", p)
		}
	})
}

func selfSigned(tb testing.TB) (server, client *tls.Config) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, &tls.Config{RootCAs: roots}
}

func TestTLS(t *testing.T) {
	serverTLS, clientTLS := selfSigned(t)
	gw := newFake()
	s, _ := startServerOn(t, DefaultConfig(), gw)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(tls.NewListener(l, serverTLS)) }()
	silent := dialRaw(t, l.Addr().String()) // never begins the handshake and holds up nobody
	nc, err := tls.Dial("tcp", l.Addr().String(), clientTLS)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	c := handshake(t, nc, level5, "device")
	c.publish(1, "steps")
	it := gw.take(t)
	plain := dialRaw(t, l.Addr().String())
	mustWrite(t, plain, connectPacket(level311, "c", "device", "secret"))
	_ = plain.SetReadDeadline(time.Now().Add(patience))
	if b := readAlert(plain); len(b) > 0 && b[0] == byte(typeConnack)<<4 {
		t.Error("CONNACK without TLS")
	}
	go it.store()
	c.wantPuback(1, codeSuccess)
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.wantEnd(codeShuttingDown)
	wantClosed(t, silent)
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func readAlert(nc net.Conn) []byte {
	b := make([]byte, 64)
	n, _ := nc.Read(b) // the alert or the end
	return b[:n]
}
