package https

import (
	"bytes"
	stdgzip "compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"testing"

	"ayumi/steps"
)

// FuzzUpload negotiates and decodes whatever comes. Nothing panics; what is submitted keeps the
// limit and is the body itself or what an independent decoder makes of it; what is refused is a
// problem document of a status that belongs here.
func FuzzUpload(f *testing.F) {
	text := []byte(`{"boot":1,"seq":1}`)
	f.Add("application/json", "", text)
	f.Add("application/x-protobuf; message=bundle", "identity", []byte{})
	f.Add("application/json; charset=utf-8", "gzip", gz(f, text))
	f.Add("application/x-protobuf", "zstd", zst(f, text))
	f.Add("application/x-protobuf", "zstd", zstSized(f, make([]byte, 100_000)))
	f.Add("text/plain", "gzip, gzip", gz(f, gz(f, text)))
	f.Add("application/json", "gzip", gz(f, make([]byte, 100_000)))
	f.Add("application/json", "zstd", frame(0, 14<<3, "x"))
	gw := &fakeGateway{}
	cfg := testConfig()
	cfg.MaxBodyBytes = 64 << 10
	s, _ := newServer(f, cfg, gw, nil)
	h := s.Handler()
	f.Fuzz(func(t *testing.T, mediaType, coding string, body []byte) {
		gw.envs = gw.envs[:0]
		r := post(body)
		r.Header["Content-Type"] = []string{mediaType}
		r.Header["Content-Encoding"] = []string{coding}
		w := answer(h, r)
		if w.StatusCode != http.StatusOK {
			var p document
			if err := json.NewDecoder(w.Body).Decode(&p); err != nil || p.Status != w.StatusCode || p.Type == "" || p.Detail == "" {
				t.Fatalf("problem %+v, %v, status %d", p, err, w.StatusCode)
			}
			if c := w.StatusCode; c != 400 && c != 413 && c != 415 {
				t.Fatalf("status %d", c)
			}
			if len(gw.envs) != 0 {
				t.Fatal("a refused body was submitted")
			}
			return
		}
		env := gw.last(t)
		if int64(len(env.Body)) > cfg.MaxBodyBytes {
			t.Fatalf("%d bytes were submitted", len(env.Body))
		}
		if env.Encoding != steps.JSON && env.Encoding != steps.Protobuf {
			t.Fatalf("encoding %v", env.Encoding)
		}
		var ff form
		ff.setCoding([]string{coding})
		switch ff.coding {
		case identity:
			if !bytes.Equal(env.Body, body) {
				t.Fatal("an uncompressed body was changed")
			}
		case gzipped:
			if want, err := gunzipStd(body); err != nil || !bytes.Equal(want, env.Body) {
				t.Fatalf("the standard library's gzip reads %d bytes, %v; we read %d", len(want), err, len(env.Body))
			}
		}
	})
}

func gunzipStd(b []byte) ([]byte, error) {
	r, err := stdgzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}
