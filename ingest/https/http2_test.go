package https

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestConnectionsGiveTheirPlacesBack has one place, so that each connection needs the former's.
func TestConnectionsGiveTheirPlacesBack(t *testing.T) {
	cfg := testConfig()
	cfg.MaxConns = 1
	v := serveTLS(t, cfg, &fakeGateway{}, nil)
	for range 3 {
		for _, client := range []*http.Client{v.client, v.http1} {
			w, err := client.Do(newUpload(t, v.url, []byte("{}")))
			if err != nil {
				t.Fatal(err)
			}
			if readAll(t, w); w.StatusCode != 200 {
				t.Errorf("status %d", w.StatusCode)
			}
			client.CloseIdleConnections()
		}
		c, err := net.Dial("tcp", strings.TrimPrefix(v.url, "https://"))
		if err != nil {
			t.Fatal(err)
		}
		send(t, c, "neither TLS nor HTTP, which fails the handshake\r\n\r\n")
		c.Close()
	}
}

func TestSlowBodyOverHTTP2(t *testing.T) {
	cfg := testConfig()
	cfg.ReadTimeout = 2 * time.Second // of real time, and the handshake's too
	v := serveTLS(t, cfg, &fakeGateway{}, nil)
	body, feed := io.Pipe()
	defer feed.Close()
	r, err := http.NewRequest(http.MethodPost, v.url+"/v1/uploads", body)
	if err != nil {
		t.Fatal(err)
	}
	w, err := v.client.Do(prepare(r, "Content-Type", typeJSON))
	if err != nil {
		t.Fatal(err)
	}
	if w.ProtoMajor != 2 {
		t.Errorf("HTTP/%d", w.ProtoMajor)
	}
	checkProblem(t, w, 408, "/problems/slow", "2s")
}

// TestRefusalOverHTTP2ComesBeforeTheBody never sends the body.
func TestRefusalOverHTTP2ComesBeforeTheBody(t *testing.T) {
	v := serveTLS(t, testConfig(), &fakeGateway{}, nil)
	body, feed := io.Pipe()
	defer feed.Close()
	r, err := http.NewRequest(http.MethodPost, v.url+"/v1/uploads", body)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	w, err := v.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	checkProblem(t, w, 401, "/problems/unauthorized")
	if d := time.Since(start); d > 20*time.Second {
		t.Errorf("answered after %v", d)
	}
}
