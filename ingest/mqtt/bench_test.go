package mqtt

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"ayumi/ingest"
	"ayumi/steps"
)

// batchGateway completes what was submitted in batches, as a store that commits in groups does,
// and does nothing else: the benchmark measures the listener.
type batchGateway struct {
	queue   chan ingest.Completion
	commits atomic.Int64
}

func newBatchGateway(b testing.TB) *batchGateway {
	g := &batchGateway{queue: make(chan ingest.Completion, 65536)}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		g.run(stop)
	}()
	b.Cleanup(func() { close(stop); <-stopped })
	return g
}

func (g *batchGateway) run(stop chan struct{}) {
	receipt := &steps.Receipt{Uploads: []steps.UploadReceipt{{Verdict: steps.Stored}}}
	batch := make([]ingest.Completion, 0, 8192)
	for {
		select {
		case <-stop:
			return
		case d := <-g.queue:
			batch = append(batch[:0], d)
		}
		for len(batch) < cap(batch) && len(g.queue) > 0 {
			batch = append(batch, <-g.queue)
		}
		g.commits.Add(1)
		var flushers []steps.Flusher
		for _, d := range batch {
			if f := d.Complete(receipt, nil); f != nil {
				flushers = append(flushers, f)
			}
		}
		for _, f := range flushers {
			f.Flush()
		}
	}
}

func (g *batchGateway) Authenticate(device steps.DeviceID, _ []byte) (steps.Identity, error) {
	return steps.Identity{Device: device}, nil
}

func (g *batchGateway) Submit(ctx context.Context, env *ingest.Envelope, done ingest.Completion) error {
	select {
	case g.queue <- done:
		return nil
	default:
	}
	if env.BeforeWait != nil {
		env.BeforeWait()
	}
	select {
	case g.queue <- done:
		return nil
	case <-ctx.Done():
		return steps.E("submit", steps.Unavailable, ctx.Err())
	}
}

// BenchmarkPublish counts acknowledged QoS 1 publishes of 256 bytes over loopback; the clients
// share the processors with the listener.
func BenchmarkPublish(b *testing.B) {
	for _, level := range []protocolLevel{level311, level5} {
		for _, shape := range []struct{ conns, window int }{{1, 32}, {50, 1}, {50, 32}, {1000, 1}, {1000, 32}} {
			b.Run(fmt.Sprintf("v%d/conns=%d/window=%d", level, shape.conns, shape.window), func(b *testing.B) {
				benchmarkPublish(b, level, shape.conns, shape.window)
			})
		}
	}
}

func benchmarkPublish(b *testing.B, level protocolLevel, conns, window int) {
	g := newBatchGateway(b)
	addr := startServer(b, DefaultConfig(), g)
	clients := make([]net.Conn, conns)
	for i := range clients {
		device := fmt.Sprintf("pedometer-%04d", i)
		clients[i] = dialRaw(b, addr)
		mustWrite(b, clients[i], connectPacket(level, device, device, "secret"))
		readConnack(b, clients[i])
	}
	var left atomic.Int64
	left.Store(int64(b.N))
	errs := make(chan error, conns)
	b.ReportAllocs()
	b.SetBytes(256)
	b.ResetTimer()
	for i, nc := range clients {
		go func() { errs <- publishLoop(nc, level, fmt.Sprintf("pedometer-%04d", i), window, &left) }()
	}
	for range clients {
		if err := <-errs; err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "publishes/s")
	b.ReportMetric(float64(b.N)/float64(max(g.commits.Load(), 1)), "publishes/commit")
}

// publishLoop keeps window publishes under way until left is used up.
func publishLoop(nc net.Conn, level protocolLevel, device string, window int, left *atomic.Int64) error {
	one := publishPacket(level, 1, 7, "ayumi/v1/"+device+"/up/pb", bytes.Repeat([]byte{'x'}, 256))
	many := bytes.Repeat(one, window)
	take := func(n int) int {
		if have := left.Add(int64(-n)) + int64(n); have < int64(n) {
			return int(max(have, 0))
		}
		return n
	}
	acks := make([]byte, 4*window)
	underWay := take(window)
	if _, err := nc.Write(many[:underWay*len(one)]); err != nil {
		return err
	}
	partial := 0
	for underWay > 0 {
		n, err := nc.Read(acks[partial:])
		if err != nil {
			return err
		}
		n += partial
		got := n / 4
		if partial = n % 4; partial > 0 {
			if _, err := io.ReadFull(nc, acks[:4-partial]); err != nil {
				return err
			}
			got, partial = got+1, 0
		}
		more := take(got)
		underWay += more - got
		if more > 0 {
			if _, err := nc.Write(many[:more*len(one)]); err != nil {
				return err
			}
		}
	}
	return nil
}
