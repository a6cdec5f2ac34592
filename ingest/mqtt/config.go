package mqtt

import (
	"fmt"
	"time"

	"ayumi/ingest"
	"ayumi/steps"
)

// Config sets the listener's bounds. Start from DefaultConfig.
type Config struct {
	// MaxConnections is the number of open connections above which new ones are closed before a
	// byte is read.
	MaxConnections int
	// ConnectionsPerDevice is how many connections one device may have. Above it, its oldest is
	// closed.
	ConnectionsPerDevice int
	// ConnectTimeout bounds the time from accept to a complete CONNECT, the TLS handshake
	// included.
	ConnectTimeout time.Duration
	// MaxPacketBytes is the largest packet accepted after CONNECT, header included. CONNECT itself
	// may have 4 KiB.
	MaxPacketBytes int
	// ReceiveMaximum is how many QoS 1 publishes of a connection may be unacknowledged, and how
	// many QoS 0 publishes may wait for their commit. Above it a v5 client is disconnected and a
	// 3.1.1 client is not read from.
	ReceiveMaximum int
	// KeepAliveDefault is given to v5 clients that ask for no keep alive. Whole seconds.
	KeepAliveDefault time.Duration
	// KeepAliveMax is given to v5 clients that ask for more, and cuts 3.1.1 clients that ask for
	// no keep alive. 3.1.1 clients that ask for more get what they ask for, since they cannot be
	// told otherwise. Whole seconds, at most 65,535.
	KeepAliveMax time.Duration
	// WriteTimeout is how long a client may take nothing of what is written to it.
	WriteTimeout time.Duration
	// ReceiptBuffer is how many bytes of receipts may wait for one connection. What is beyond is
	// dropped and counted; acknowledgements are never dropped.
	ReceiptBuffer int
	// EncodeReceipt appends the encoded receipt to dst. It is called from the store's committer,
	// for subscribed connections only, and must neither block nor keep r. Nil: no receipts, and
	// every subscription is refused.
	EncodeReceipt func(dst []byte, r *steps.Receipt, enc steps.Encoding) []byte
	// Allowances say how much each device may upload; above it, its connections are not read from.
	// Nil: as much as it can.
	Allowances *ingest.Allowances
}

// DefaultConfig returns the bounds of one gateway for some ten thousands of devices.
func DefaultConfig() Config {
	return Config{
		MaxConnections:       25_000,
		ConnectionsPerDevice: 8,
		ConnectTimeout:       10 * time.Second,
		MaxPacketBytes:       1<<20 + 1<<10,
		ReceiveMaximum:       64,
		KeepAliveDefault:     5 * time.Minute,
		KeepAliveMax:         time.Hour,
		WriteTimeout:         10 * time.Second,
		ReceiptBuffer:        64 << 10,
	}
}

const (
	connectBytes   = 4 << 10 // largest CONNECT
	minMaxPacket   = 64      // smallest Maximum Packet Size of a client that we can serve
	replyBuffer    = 16 << 10
	drainBuffer    = 512         // for what is thrown away
	loopBytes      = 32 << 10    // a larger payload is decoded by a goroutine of its own
	lingerTimeout  = time.Second // how long a peer may take to close after we did
	stuckAfter     = time.Second // how long a publish may wait before another goroutine reads on
	keepAliveSlack = 10          // the read deadline is renewed in steps of 1/10 keep alive
)

func (c *Config) check() error {
	for _, f := range []struct {
		name      string
		v, lo, hi int64
	}{
		{"MaxConnections", int64(c.MaxConnections), 1, 1 << 24},
		{"ConnectionsPerDevice", int64(c.ConnectionsPerDevice), 1, 1 << 10},
		{"ConnectTimeout", int64(c.ConnectTimeout), int64(time.Millisecond), int64(time.Hour)},
		{"MaxPacketBytes", int64(c.MaxPacketBytes), connectBytes, maxRemainingLength},
		{"ReceiveMaximum", int64(c.ReceiveMaximum), 1, 65_535},
		{"KeepAliveDefault", int64(c.KeepAliveDefault), int64(time.Second), int64(65_535 * time.Second)},
		{"KeepAliveMax", int64(c.KeepAliveMax), int64(c.KeepAliveDefault), int64(65_535 * time.Second)},
		{"WriteTimeout", int64(c.WriteTimeout), int64(time.Millisecond), int64(time.Hour)},
		{"ReceiptBuffer", int64(c.ReceiptBuffer), 0, 1 << 30},
	} {
		if f.v < f.lo || f.v > f.hi {
			return steps.E("configure mqtt listener", steps.Invalid,
				fmt.Errorf("%s is %d; use %d to %d", f.name, f.v, f.lo, f.hi))
		}
	}
	return nil
}
