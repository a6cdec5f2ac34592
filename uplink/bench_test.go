package uplink

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"ayumi/steps"
	"ayumi/uplink/uplinktest"
)

// BenchmarkPublish measures acknowledged publishes of 256 bytes against a server that does nothing
// else; client and server share the machine's cores.
func BenchmarkPublish(b *testing.B) {
	for _, bc := range []struct{ conns, window int }{{1, 1}, {1, 32}, {1, 1024}, {50, 1}, {50, 32}, {1000, 32}} {
		b.Run(fmt.Sprintf("conns=%d/window=%d", bc.conns, bc.window), func(b *testing.B) {
			s := listen(b, uplinktest.Script{})
			conns := make([]*MQTT, bc.conns)
			for i := range conns {
				conns[i] = connect(b, MQTTConfig{Addr: s.Addr(), Window: bc.window})
			}
			topic, payload := UploadTopic("ped-1", steps.Protobuf), make([]byte, 256)
			var acks, turn atomic.Int64
			acked := func(_ byte, err error) {
				if err == nil {
					acks.Add(1)
				}
			}
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for _, c := range conns {
				wg.Go(func() {
					for turn.Add(1) <= int64(b.N) {
						if err := c.Publish(b.Context(), topic, payload, acked); err != nil {
							b.Error(err)
							return
						}
					}
					if err := c.Drain(b.Context()); err != nil {
						b.Error(err)
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			if acks.Load() != int64(b.N) {
				b.Errorf("%d of %d were acknowledged", acks.Load(), b.N)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "acks/s")
		})
	}
}
