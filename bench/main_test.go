package bench

import (
	"context"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ayumi/steps"
	"ayumi/uplink/uplinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// firstDay is a midnight of the past in Tokyo.
const firstDay = 1_790_694_000

// load is a short run of n devices against addr.
func load(addr string, n int) Config {
	c := Config{
		Addr: addr, Window: 8, Samples: 15, First: firstDay, Days: 30, Boot: 7,
		Duration: 250 * time.Millisecond, Warmup: 10 * time.Millisecond,
	}
	for i := range n {
		id := "ped-" + string(rune('a'+i))
		c.Clients = append(c.Clients, Client{ID: id, User: id, Secret: "secret"})
	}
	return c
}

// piped is load over pipes to a scripted server, for a bubble of synctest.
func piped(t *testing.T, script uplinktest.Script, n int) Config {
	s := uplinktest.New(script)
	t.Cleanup(s.Close)
	c := load("pipe:1", n)
	c.Dial = func(context.Context, string, string) (net.Conn, error) {
		near, far := net.Pipe()
		go s.Serve(far)
		return near, nil
	}
	return c
}

func listen(t testing.TB, script uplinktest.Script) *uplinktest.Server {
	t.Helper()
	s, err := uplinktest.Listen("127.0.0.1:0", nil, script)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func mustRun(t *testing.T, c Config) *Result {
	t.Helper()
	r, err := Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// carried gives every client devices of its own.
func carried(c *Config, each int) {
	for i := range c.Clients {
		for j := range each {
			c.Clients[i].Carries = append(c.Clients[i].Carries, steps.DeviceID(c.Clients[i].ID+"-"+string(rune('a'+j))))
		}
	}
}
