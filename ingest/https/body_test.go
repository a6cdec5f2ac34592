package https

import (
	"bytes"
	"compress/flate"
	"crypto/rand"
	"encoding/binary"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// bomb unfolds to size zeros: members (or frames) of 16 MiB, one after the other.
func bomb(t testing.TB, size int, compress func(testing.TB, []byte) []byte) []byte {
	t.Helper()
	const member = 16 << 20
	return bytes.Repeat(compress(t, make([]byte, member)), size/member)
}

// gzBest compresses as hard as deflate allows, 1032 to 1.
func gzBest(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	// Header and trailer are never reached, the trailer may be anything.
	return append(append([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255}, out.Bytes()...), make([]byte, 8)...)
}

func zstStream(t testing.TB, b []byte) []byte { return zst(t, b) }

// zstSized declares its content size, as one call with the whole content does.
func zstSized(t testing.TB, b []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(b, nil)
}

// TestBombs sends bodies that unfold to 1 GiB. They are refused after at most a body's worth of work
// and memory.
func TestBombs(t *testing.T) {
	for _, c := range []struct {
		name, coding string
		body         []byte
	}{
		{"gzip", "gzip", bomb(t, 1<<30, gzBest)},
		{"zstd stream", "zstd", bomb(t, 1<<30, zstStream)},
		{"zstd with its size", "zstd", bomb(t, 1<<30, zstSized)},
	} {
		t.Run(c.name, func(t *testing.T) {
			gw := &fakeGateway{}
			s, reg := newServer(t, testConfig(), gw, nil)
			h := s.Handler()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			const repeats = 8
			for range repeats {
				checkProblem(t, answer(h, post(c.body, "Content-Encoding", c.coding)), 413, "/problems/too-large", "1048576 bytes", "split")
			}
			runtime.ReadMemStats(&after)
			t.Logf("%d bytes in; %d KiB allocated a request", len(c.body), (after.TotalAlloc-before.TotalAlloc)/repeats>>10)
			if a := (after.TotalAlloc - before.TotalAlloc) / repeats; a > 8<<20 {
				t.Errorf("%d bytes were allocated a request, want at most 8 MiB", a)
			}
			if n := metric(t, reg, "ayumi_https_decompressed_bytes_total", "coding="+c.coding); n > repeats*(1<<20+1) {
				t.Errorf("%v bytes were decompressed", n)
			}
			if len(gw.envs) != 0 {
				t.Error("it was submitted")
			}
		})
	}
}

// TestEndlessNothing sends streams that are long and unfold to nothing.
func TestEndlessNothing(t *testing.T) {
	skippable := append([]byte{0x50, 0x2a, 0x4d, 0x18, 8, 0, 0, 0}, make([]byte, 8)...) // RFC 8878 section 3.1.2
	for name, c := range map[string]struct {
		coding string
		unit   []byte
	}{
		"gzip members": {"gzip", gz(t, nil)},
		"zstd frames":  {"zstd", skippable},
	} {
		t.Run(name, func(t *testing.T) {
			gw := &fakeGateway{}
			s, _ := newServer(t, testConfig(), gw, nil)
			short := bytes.Repeat(c.unit, 40_000)
			if w := answer(s.Handler(), post(short, "Content-Encoding", c.coding)); w.StatusCode != 200 || len(gw.last(t).Body) != 0 {
				t.Errorf("%d bytes: status %d, want 200", len(short), w.StatusCode)
			}
			long := bytes.Repeat(c.unit, 100_000)
			r := post(long, "Content-Encoding", c.coding)
			r.ContentLength = -1
			checkProblem(t, answer(s.Handler(), r), 413, "/problems/too-large")
		})
	}
}

func TestSizeLimit(t *testing.T) {
	const limit = 1 << 20
	noise := make([]byte, limit+1)
	if _, err := rand.Read(noise); err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, limit+1)
	for _, c := range []struct {
		name, coding string
		compress     func(testing.TB, []byte) []byte
	}{
		{"identity", "identity", func(_ testing.TB, b []byte) []byte { return b }},
		{"gzip", "gzip", gz},
		{"zstd stream", "zstd", zstStream},
		{"zstd with its size", "zstd", zstSized},
		{"zstd with a window of 8 MiB", "zstd", func(t testing.TB, b []byte) []byte { return zst(t, b, zstd.WithWindowSize(8<<20)) }},
		{"zstd with a window of 1 KiB", "zstd", func(t testing.TB, b []byte) []byte { return zst(t, b, zstd.WithWindowSize(1<<10)) }},
	} {
		for content, b := range map[string][]byte{"noise": noise, "zeros": zeros} {
			for _, chunked := range []bool{false, true} {
				name := c.name + " " + content
				if chunked {
					name += " chunked"
				}
				t.Run(name, func(t *testing.T) {
					gw := &fakeGateway{}
					s, _ := newServer(t, testConfig(), gw, nil)
					request := func(b []byte) *http.Request {
						r := post(c.compress(t, b), "Content-Encoding", c.coding)
						if chunked {
							r.ContentLength = -1
						}
						return r
					}
					if w := answer(s.Handler(), request(b[:limit])); w.StatusCode != 200 {
						t.Errorf("at the limit: %d %s", w.StatusCode, readAll(t, w))
					} else if !bytes.Equal(gw.last(t).Body, b[:limit]) {
						t.Error("at the limit: the body changed")
					}
					checkProblem(t, answer(s.Handler(), request(b)), 413, "/problems/too-large")
				})
			}
		}
	}
}

func TestTooLargeIsRefusedUnread(t *testing.T) {
	s, _ := newServer(t, testConfig(), &fakeGateway{}, nil)
	body := &countingReader{r: strings.NewReader(strings.Repeat("a", 1<<21))}
	r := prepare(httptest.NewRequest(http.MethodPost, "/v1/uploads", body), "Content-Type", typeJSON)
	r.ContentLength = 1 << 21
	checkProblem(t, answer(s.Handler(), r), 413, "/problems/too-large")
	if body.n != 0 {
		t.Errorf("%d bytes were read", body.n)
	}
}

func TestClaimedLengthAllocatesNothing(t *testing.T) {
	s, _ := newServer(t, testConfig(), &fakeGateway{}, nil)
	h := s.Handler()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 100 {
		r := post([]byte("{}"))
		r.ContentLength = 1 << 20
		answer(h, r)
	}
	runtime.ReadMemStats(&after)
	n := (after.TotalAlloc - before.TotalAlloc) / 100
	if n > 64<<10 {
		t.Errorf("%d bytes allocated for a body of 2 that claims 1 MiB", n)
	}
}

// frame is a zstd frame header without content size (RFC 8878 section 3.1.1.1) and one raw block.
func frame(descriptor, window byte, content string) []byte {
	b := []byte{0x28, 0xb5, 0x2f, 0xfd, descriptor, window}
	block := uint32(len(content))<<3 | 1 // last block, raw
	b = append(b, byte(block), byte(block>>8), byte(block>>16))
	return append(b, content...)
}

type corruptStream struct {
	name, coding string
	body         []byte
	detail       string
	status       int
}

func corruptStreams(zipped, zstandard, text []byte) []corruptStream {
	flip := func(b []byte, i int) []byte {
		b = bytes.Clone(b)
		b[len(b)-i] ^= 0xff
		return b
	}
	sized := binary.LittleEndian.AppendUint64([]byte{0x28, 0xb5, 0x2f, 0xfd, 0xe0}, 1<<40) // claims a TiB
	return []corruptStream{
		{"gzip empty", "gzip", nil, "is empty", 400},
		{"gzip none", "gzip", text, "gzip", 400},
		{"gzip header cut", "gzip", zipped[:7], "gzip", 400},
		{"gzip data cut", "gzip", zipped[:20], "unexpected EOF", 400},
		{"gzip trailer cut", "gzip", zipped[:len(zipped)-1], "unexpected EOF", 400},
		{"gzip checksum", "gzip", flip(zipped, 6), "checksum", 400},
		{"gzip length", "gzip", flip(zipped, 1), "checksum", 400},
		{"gzip garbage behind", "gzip", append(bytes.Clone(zipped), "garbage behind it"...), "header", 400},
		{"gzip zeros behind", "gzip", append(bytes.Clone(zipped), make([]byte, 32)...), "header", 400},
		{"gzip a byte behind", "gzip", append(bytes.Clone(zipped), 0x1f), "gzip", 400},
		{"zstd empty", "zstd", nil, "is empty", 400},
		{"zstd none", "zstd", text, "magic", 400},
		{"zstd cut", "zstd", zstandard[:len(zstandard)-5], "EOF", 400},
		{"zstd checksum", "zstd", flip(zstandard, 1), "CRC", 400},
		{"zstd garbage behind", "zstd", append(bytes.Clone(zstandard), "garbage"...), "magic", 400},
		{"zstd window of 8 MiB", "zstd", frame(0, 13<<3, "x"), "", 200},
		{"zstd window of 16 MiB", "zstd", frame(0, 14<<3, "x"), "window is larger than 8 MiB", 400},
		{"zstd window of 1 TiB", "zstd", frame(0, 30<<3, "x"), "window is larger than 8 MiB", 400},
		{"zstd unknown dictionary", "zstd", frame(1, 7, "x"), "zstd", 400},
		{"zstd claims 1 TiB", "zstd", append(sized, 1, 0, 0), "", 413},
	}
}

func TestCorruptStreams(t *testing.T) {
	text := []byte(strings.Repeat("steps steps steps ", 50))
	zipped, zstandard := gz(t, text), zst(t, text)
	for _, c := range corruptStreams(zipped, zstandard, text) {
		t.Run(c.name, func(t *testing.T) {
			gw := &fakeGateway{}
			s, _ := newServer(t, testConfig(), gw, nil)
			w := answer(s.Handler(), post(c.body, "Content-Encoding", c.coding))
			switch c.status {
			case 200:
				if w.StatusCode != 200 {
					t.Errorf("%d %s", w.StatusCode, readAll(t, w))
				}
				return
			case 400:
				checkProblem(t, w, 400, "/problems/body", c.detail, c.coding, "compress it again")
			case 413:
				checkProblem(t, w, 413, "/problems/too-large")
			}
			if len(gw.envs) != 0 {
				t.Error("it was submitted")
			}
			// The same decompressor must work on what comes next.
			for coding, body := range map[string][]byte{"gzip": zipped, "zstd": zstandard} {
				if w := answer(s.Handler(), post(body, "Content-Encoding", coding)); w.StatusCode != 200 || !bytes.Equal(gw.last(t).Body, text) {
					t.Errorf("the next %s upload: status %d", coding, w.StatusCode)
				}
			}
		})
	}
}

func TestBodyThatFails(t *testing.T) {
	s, _ := newServer(t, testConfig(), &fakeGateway{}, nil)
	r := post(nil)
	r.Body, r.ContentLength = io.NopCloser(io.MultiReader(strings.NewReader("half"), failing{io.ErrUnexpectedEOF})), 100
	checkProblem(t, answer(s.Handler(), r), 400, "/problems/body", "ended before")
	r = post(nil)
	r.Body, r.ContentLength = io.NopCloser(failing{io.ErrNoProgress}), -1
	checkProblem(t, answer(s.Handler(), r), 400, "/problems/body", "transfer coding")
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
