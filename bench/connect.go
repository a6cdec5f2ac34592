package bench

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"
)

// dial opens a transport and, if one is configured, TLS on it.
func dial(ctx context.Context, c *Config) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := c.Dial(ctx, "tcp", c.Addr)
	if err != nil || c.TLS == nil {
		return conn, err
	}
	conf := c.TLS.Clone()
	if conf.ServerName == "" {
		conf.ServerName, _, _ = net.SplitHostPort(c.Addr) // an address without a port was refused by Dial
	}
	secure := tls.Client(conn, conf)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return secure, nil
}

// connect opens the transport and logs in.
func (p *publisher) connect(ctx context.Context, c *Config) error {
	conn, err := dial(ctx, c)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	err = p.login(conn, c)
	if err != nil {
		_ = conn.Close()
		return err
	}
	p.conn = conn
	return nil
}

func (p *publisher) login(conn net.Conn, c *Config) error {
	if err := conn.SetDeadline(time.Now().Add(dialTimeout)); err != nil {
		return err
	}
	if _, err := conn.Write(appendConnect(nil, c, &c.Clients[p.index])); err != nil {
		return err
	}
	br := bufio.NewReaderSize(conn, readBuffer)
	head, err := br.ReadByte()
	if err != nil {
		return fmt.Errorf("no CONNACK: %w", err)
	}
	n, err := binary.ReadUvarint(br)
	if err != nil || head>>4 != connackType || n < 2 || n > readBuffer {
		return fmt.Errorf("packet 0x%02X of %d bytes instead of a CONNACK: %w", head, n, errProtocol)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(br, body); err != nil {
		return err
	}
	if body[1] != 0 {
		return fmt.Errorf("the server refused the connection with code 0x%02X", body[1])
	}
	if most := receiveMaximum(body[2:]); most < len(p.due) {
		return fmt.Errorf("the server admits a window of %d, not %d", most, len(p.due))
	}
	return conn.SetDeadline(time.Time{})
}

// appendConnect writes a CONNECT with a clean start.
func appendConnect(b []byte, c *Config, client *Client) []byte {
	body := appendText(nil, "MQTT")
	flags := byte(0x02)
	if client.User != "" {
		flags |= 0xC0
	}
	body = append(body, c.Version, flags, 0x0E, 0x10) // keep alive: an hour, longer than any run's silence
	if c.Version == 5 {
		body = append(body, 0)
	}
	body = appendText(body, client.ID)
	if client.User != "" {
		body = appendText(appendText(body, client.User), client.Secret)
	}
	b = binary.AppendUvarint(append(b, 0x10), uint64(len(body)))
	return append(b, body...)
}

func appendText(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

// receiveMaximum finds that property (MQTT 5, 3.2.2.3.3) among a CONNACK's.
func receiveMaximum(props []byte) int {
	const unlimited = 65535
	length, used := binary.Uvarint(props)
	if used <= 0 || int(length) > len(props)-used {
		return unlimited // MQTT 3.1.1 has none
	}
	for b := props[used : used+int(length)]; len(b) > 2; {
		size := 0
		switch b[0] {
		case 0x24, 0x25, 0x28, 0x29, 0x2A:
			size = 1
		case 0x13, 0x21:
			size = 2
		case 0x11, 0x27:
			size = 4
		case 0x26: // a pair of strings
			size = 2 + int(binary.BigEndian.Uint16(b[1:]))
			if len(b) > 2+size {
				size += 2 + int(binary.BigEndian.Uint16(b[1+size:]))
			}
		default: // a string
			size = 2 + int(binary.BigEndian.Uint16(b[1:]))
		}
		if b[0] == 0x21 {
			return int(binary.BigEndian.Uint16(b[1:]))
		}
		b = b[min(len(b), 1+size):]
	}
	return unlimited
}
