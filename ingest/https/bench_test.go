package https

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"ayumi/ingest"
	"ayumi/pki"
	"ayumi/steps"
)

// benchGateway completes from one goroutine, a group at a time, as the store's committer does.
type benchGateway struct {
	fakeGateway
	queue chan ingest.Completion
}

func (g *benchGateway) Submit(_ context.Context, _ *ingest.Envelope, done ingest.Completion) error {
	g.queue <- done
	return nil
}

// BenchmarkUpload sends one upload a request over keep-alive: to the listener, and to a bare handler
// that discards the body and answers as many bytes. The ratio of the two is the listener's own cost.
func BenchmarkUpload(b *testing.B) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 16) // 256 bytes: an hour of minutes
	receipt := testReceipt(nil, storedReceipt(7), 2)
	bare := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", typeJSON)
		_, _ = w.Write(receipt)
	})
	for _, overTLS := range []bool{false, true} {
		for _, kind := range []string{"bare", "ayumi", "ayumi-committer", "ayumi-gzip"} {
			b.Run(fmt.Sprintf("tls=%v/%s", overTLS, kind), func(b *testing.B) {
				var gw Gateway = &instant{}
				if kind == "ayumi-committer" {
					g := &benchGateway{queue: make(chan ingest.Completion, 1024)}
					r := storedReceipt(7)
					go func() {
						for done := range g.queue {
							done.Complete(r, nil)
						}
					}()
					b.Cleanup(func() { close(g.queue) })
					gw = g
				}
				cfg := testConfig()
				cfg.EncodeReceipt = func(dst []byte, _ *steps.Receipt, _ steps.Encoding) []byte { return append(dst, receipt...) }
				s, err := New(cfg, gw, nil, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
				if err != nil {
					b.Fatal(err)
				}
				if kind == "bare" {
					s.http.Handler = bare
				}
				payload, head := body, uploadHead
				if kind == "ayumi-gzip" {
					payload, head = gz(b, body), uploadHead+"Content-Encoding: gzip\r\n"
				}
				request := fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", head, len(payload), payload)
				run(b, s, overTLS, []byte(request))
			})
		}
	}
}

type instant struct{ fakeGateway }

func (*instant) Submit(_ context.Context, _ *ingest.Envelope, done ingest.Completion) error {
	done.Complete(storedReceipt(7), nil)
	return nil
}

// run keeps 16 connections busy with a client that costs as little as possible.
func run(b *testing.B, s *Server, overTLS bool, request []byte) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	addr := l.Addr().String()
	if overTLS {
		bundle, err := pki.Load(b.TempDir(), nil, nil, nil)
		if err != nil {
			b.Fatal(err)
		}
		l = NewTLSListener(l, bundle.TLS)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	b.SetParallelism(8)
	b.ReportAllocs()
	cpu := cpuTime(b)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			b.Error(err)
			return
		}
		defer c.Close()
		if overTLS {
			c = tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
		}
		r := bufio.NewReader(c)
		for pb.Next() {
			if _, err := c.Write(request); err != nil {
				b.Error(err)
				return
			}
			if err := skipAnswer(r); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.StopTimer()
	// Processor time of both ends. Unlike ns/op it changes little when other work shares the processors.
	b.ReportMetric(float64(cpuTime(b)-cpu)/float64(b.N), "cpu-ns/op")
	if err := s.Shutdown(context.Background()); err != nil {
		b.Error(err)
	}
	if err := <-served; err != nil {
		b.Error(err)
	}
}

func cpuTime(b *testing.B) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

func skipAnswer(r *bufio.Reader) error {
	length := 0
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		text := string(line)
		switch {
		case first && !strings.Contains(text, " 200 "):
			return fmt.Errorf("answer %q", text)
		case strings.HasPrefix(text, "Content-Length: "):
			_, _ = fmt.Sscanf(text, "Content-Length: %d", &length)
		case text == "\r\n":
			_, err := r.Discard(length)
			return err
		}
	}
}
