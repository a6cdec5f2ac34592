package bench

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"

	"ayumi/steps"
)

// Client is the identity of one connection.
type Client struct {
	ID     string // MQTT client ID, and the topic's {client}
	User   string // MQTT username or HTTP Basic user; none when empty
	Secret string
	// Carries names the devices whose uploads are bundled into each of its messages. Empty: its
	// messages are single uploads of its own.
	Carries []steps.DeviceID
}

// Config describes a run. All of Clients connect, each once.
type Config struct {
	HTTPS   bool        // instead of MQTT
	Addr    string      // host:port
	TLS     *tls.Config // nil is plain TCP; HTTPS needs it
	Version byte        // of MQTT: 4 (3.1.1, also when 0) or 5
	Topic   string      // "{client}" stands for the client's ID; the gateway's own topics when empty

	Clients []Client
	Window  int // unacknowledged messages a connection, 1 to 1024; 1 with HTTPS
	Samples int // one-minute counts an upload
	Raw     int // publish so many bytes instead of uploads

	First int64  // UTC second at which the devices' days begin
	Days  int    // how many days they fill before they begin anew; all of them past
	Boot  uint32 // of all revisions; a later run over the same devices needs a higher one

	Duration time.Duration // measured
	Warmup   time.Duration // before that
	Drain    time.Duration // after that, for what is unacknowledged; 10 s when 0
	Rate     float64       // uploads/s over all connections on a fixed schedule; 0: as fast as acknowledged

	ServerPID int // whose processor time and memory are reported; 0: nobody's

	// Dial opens the transport below TLS; nil is a net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

const (
	maxWindow     = 1024
	maxSamples    = 10_080
	dialTimeout   = 30 * time.Second
	dialsAtOnce   = 64
	readBuffer    = 4 << 10
	defaultDrain  = 10 * time.Second
	minutesPerDay = 1440
)

func (c *Config) fill() error {
	if len(c.Clients) == 0 {
		return fmt.Errorf("no connections; use at least 1")
	}
	if c.Version == 0 {
		c.Version = 4
	}
	if c.Drain == 0 {
		c.Drain = defaultDrain
	}
	if c.Dial == nil {
		c.Dial = new(net.Dialer).DialContext
	}
	if c.HTTPS {
		c.Window = 1
	}
	if c.Topic == "" {
		c.Topic = "ayumi/v1/{client}/up/pb"
		if c.bundle() > 1 {
			c.Topic = "ayumi/v1/{client}/bundle/pb"
		}
	}
	return c.check()
}

func (c *Config) check() error {
	switch {
	case c.Version != 4 && c.Version != 5:
		return fmt.Errorf("MQTT version %d; use 4 (3.1.1) or 5", c.Version)
	case c.Window < 1 || c.Window > maxWindow:
		return fmt.Errorf("window %d; use 1 to %d", c.Window, maxWindow)
	case c.HTTPS && c.TLS == nil:
		return fmt.Errorf("HTTPS needs a TLS configuration")
	case c.HTTPS && c.Raw > 0:
		return fmt.Errorf("raw payloads are for MQTT only")
	case c.Raw < 0:
		return fmt.Errorf("raw payload of %d bytes", c.Raw)
	case c.Raw == 0 && (c.Samples < 1 || c.Samples > maxSamples):
		return fmt.Errorf("%d samples an upload; use 1 to %d", c.Samples, maxSamples)
	case c.Raw == 0 && c.Days*minutesPerDay < c.Samples:
		return fmt.Errorf("%d samples an upload do not fit %d days", c.Samples, c.Days)
	case c.Raw == 0 && (c.First < varint5 || c.Boot == 0):
		return fmt.Errorf("the first day must be after 1978 and the boot counter above 0")
	case c.Duration <= 0 || c.Warmup < 0 || c.Drain < 0 || c.Rate < 0:
		return fmt.Errorf("duration %s, warm-up %s, drain %s, rate %g: none may be negative, and the duration not 0",
			c.Duration, c.Warmup, c.Drain, c.Rate)
	}
	for i := range c.Clients {
		if n := len(c.Clients[i].Carries); n != len(c.Clients[0].Carries) {
			return fmt.Errorf("client %s carries %d devices and the first one %d; all must carry as many",
				c.Clients[i].ID, n, len(c.Clients[0].Carries))
		}
	}
	return nil
}

// bundle returns how many uploads a message holds.
func (c *Config) bundle() int { return max(1, len(c.Clients[0].Carries)) }
