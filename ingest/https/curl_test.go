package https

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ayumi/steps"
)

// curl runs the real curl and returns the status, the HTTP version, the answer's fields and its body.
type curl struct {
	path   string
	server *live
	dir    string
}

func newCurl(t *testing.T, gw Gateway, days Days) *curl {
	t.Helper()
	path, err := exec.LookPath("curl")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("curl is not installed; install it where CI is set")
		}
		t.Skip("curl is not installed")
	}
	return &curl{path, serveTLS(t, testConfig(), gw, days), t.TempDir()}
}

func (c *curl) file(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(c.dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (c *curl) run(t *testing.T, path string, args ...string) *http.Response {
	t.Helper()
	body, head := filepath.Join(c.dir, "body"), filepath.Join(c.dir, "head")
	args = append([]string{"--silent", "--show-error", "--max-time", "20", "--cacert", c.server.caFile,
		"--output", body, "--dump-header", head, "--write-out", "%{http_code} %{http_version}"}, append(args, c.server.url+path)...)
	cmd := exec.CommandContext(t.Context(), c.path, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("curl %q: %v: %s", args, err, &stderr)
	}
	r := &http.Response{Header: http.Header{}}
	code, version, _ := strings.Cut(string(out), " ")
	r.Proto = version
	for n := range strings.SplitSeq(code, "") {
		r.StatusCode = r.StatusCode*10 + int(n[0]-'0')
	}
	fields, err := os.ReadFile(head)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(fields), "\r\n") {
		switch name, value, ok := strings.Cut(line, ": "); {
		case ok:
			r.Header.Set(name, value)
		case strings.HasPrefix(line, "HTTP/"):
			r.Header = http.Header{} // of the last answer, after a 100
		}
	}
	content, err := os.ReadFile(body)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	r.Body = io.NopCloser(bytes.NewReader(content))
	_ = os.Remove(body)
	return r
}

func TestCurl(t *testing.T) {
	gw := &fakeGateway{}
	c := newCurl(t, gw, fakeDays(func(context.Context, steps.DeviceID, steps.DayRange) ([]steps.Award, error) {
		return []steps.Award{{ParticipantDay: steps.ParticipantDay{Day: 20780}, Steps: 8000, Points: 10}}, nil
	}))
	const user = testDevice + ":" + testSecret
	text := []byte(`{"boot":1,"seq":1}`)
	large := c.file(t, "large", make([]byte, 2<<20))
	for _, p := range []struct{ flag, version string }{{"--http2", "2"}, {"--http1.1", "1.1"}} {
		for _, u := range []struct {
			name string
			file string
			args []string
		}{
			{"json", c.file(t, "json", text), nil},
			{"gzip", c.file(t, "json.gz", gz(t, text)), []string{"-H", "Content-Encoding: gzip"}},
			{"zstd", c.file(t, "json.zst", zst(t, text)), []string{"-H", "Content-Encoding: zstd"}},
			{"chunked", c.file(t, "json", text), []string{"-H", "Transfer-Encoding: chunked"}},
			{"bundle", c.file(t, "json", text), []string{"-H", "Content-Type: application/json; message=bundle"}},
		} {
			t.Run(u.name+" over HTTP/"+p.version, func(t *testing.T) {
				args := append([]string{p.flag, "--user", user, "--data-binary", "@" + u.file}, u.args...)
				if u.name != "bundle" {
					args = append(args, "-H", "Content-Type: application/json")
				}
				r := c.run(t, "/v1/uploads", args...)
				if got := readAll(t, r); r.StatusCode != 200 || got != "json 7.0 stored" || r.Proto != p.version {
					t.Errorf("%d %q over HTTP/%s", r.StatusCode, got, r.Proto)
				}
				if env := gw.last(t); !bytes.Equal(env.Body, text) || env.Bundle != (u.name == "bundle") {
					t.Errorf("submitted %q, bundle %v", env.Body, env.Bundle)
				}
			})
		}
		t.Run("2 MiB over HTTP/"+p.version, func(t *testing.T) {
			start := time.Now()
			r := c.run(t, "/v1/uploads", p.flag, "--user", user, "--data-binary", "@"+large, "-H", "Content-Type: application/json")
			checkProblem(t, r, 413, "/problems/too-large", "1048576")
			if d := time.Since(start); d > 10*time.Second {
				t.Errorf("answered after %v", d)
			}
		})
		t.Run("2 MiB chunked over HTTP/"+p.version, func(t *testing.T) {
			r := c.run(t, "/v1/uploads", p.flag, "--user", user, "--data-binary", "@"+large, "-H", "Content-Type: application/json", "-H", "Transfer-Encoding: chunked", "-H", "Expect:")
			checkProblem(t, r, 413, "/problems/too-large", "1048576")
		})
		t.Run("wrong secret over HTTP/"+p.version, func(t *testing.T) {
			r := c.run(t, "/v1/uploads", p.flag, "--user", testDevice+":guess", "--data-binary", "@"+c.file(t, "json", text), "-H", "Content-Type: application/json")
			checkProblem(t, r, 401, "/problems/unauthorized")
		})
		t.Run("days over HTTP/"+p.version, func(t *testing.T) {
			r := c.run(t, "/v1/days?from=2026-11-01&to=2026-11-30", p.flag, "--user", user)
			if got := readAll(t, r); r.StatusCode != 200 || got != `{"days":[{"day":"2026-11-23","steps":8000,"points":10,"rule_set":""}]}`+"\n" {
				t.Errorf("%d %s", r.StatusCode, got)
			}
		})
	}
}

func TestCurlWithoutTrustOrCredential(t *testing.T) {
	c := newCurl(t, &fakeGateway{}, fakeDays(noDays))
	t.Run("without the CA", func(t *testing.T) {
		err := exec.CommandContext(t.Context(), c.path, "--silent", "--user", testDevice+":"+testSecret, c.server.url+"/v1/days").Run()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 60 {
			t.Errorf("curl: %v, want exit status 60, peer certificate cannot be authenticated", err)
		}
	})
	t.Run("anonymous", func(t *testing.T) {
		checkProblem(t, c.run(t, "/v1/days"), 401, "/problems/unauthorized")
	})
}
