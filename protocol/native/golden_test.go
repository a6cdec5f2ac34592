package native

import (
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"ayumi/protocol"
	"ayumi/steps"
)

var update = flag.Bool("update", false, "write testdata/native/*/*.want from what the decoder says; review the difference")

const corpus = "../../testdata/native"

// vector is one payload of the corpus. testdata/native/README.md describes the files.
type vector struct {
	path   string
	enc    steps.Encoding
	bundle bool
	body   []byte
}

// wantPath is shared by the two encodings of one name.
func (v *vector) wantPath() string { return strings.TrimSuffix(v.path, filepath.Ext(v.path)) + ".want" }

// vectors loads the payloads of a directory of the corpus, "accept" or "reject".
func vectors(t testing.TB, dir string) []vector {
	t.Helper()
	var out []vector
	for ext, enc := range map[string]steps.Encoding{"json": steps.JSON, "pbhex": steps.Protobuf} {
		paths, err := filepath.Glob(filepath.Join(corpus, dir, "*."+ext))
		if err != nil || len(paths) == 0 {
			t.Fatalf("no %s in %s/%s: %v", ext, corpus, dir, err)
		}
		for _, path := range paths {
			body, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if enc == steps.Protobuf {
				if body, err = parseHex(string(body)); err != nil {
					t.Fatalf("%s: %v", path, err)
				}
			}
			bundle := strings.HasPrefix(filepath.Base(path), "bundle-")
			out = append(out, vector{path: path, enc: enc, bundle: bundle, body: body})
		}
	}
	return out
}

// parseHex reads hex bytes with comments from '#' to the end of the line and "( BYTES )*N".
func parseHex(s string) ([]byte, error) {
	var out []byte
	group := -1
	for line := range strings.Lines(s) {
		line, _, _ = strings.Cut(line, "#")
		for _, word := range strings.Fields(line) {
			count, repeat := strings.CutPrefix(word, ")*")
			switch {
			case word == "(" && group < 0:
				group = len(out)
			case repeat && group >= 0:
				n, err := strconv.Atoi(count)
				if err != nil {
					return nil, err
				}
				part := string(out[group:])
				out, group = append(out[:group], strings.Repeat(part, n)...), -1
			default:
				b, err := hex.DecodeString(word)
				if err != nil {
					return nil, fmt.Errorf("%q: %w", word, err)
				}
				out = append(out, b...)
			}
		}
	}
	if group >= 0 {
		return nil, fmt.Errorf("a group is not closed")
	}
	return out, nil
}

// verdict decodes a vector and says in the words of a .want file what came of it.
func (v *vector) verdict() (text string, err error) {
	d := NewDecoder(protocol.DefaultLimits())
	if !v.bundle {
		var u steps.Upload
		if err = d.Upload(&u, v.body, v.enc); err != nil {
			return err.Error() + "\n", err
		}
		return dump(&u), nil
	}
	us, _, errs, err := decodeBundle(d, v.body, v.enc)
	if err != nil {
		return err.Error() + "\n", err
	}
	for i, u := range us {
		if errs[i] != nil {
			text += fmt.Sprintf("refused device=%q boot=%d seq=%d: %v\n", u.Device, u.Revision.Boot, u.Revision.Seq, errs[i])
		} else {
			text += dump(u)
		}
	}
	return text, nil
}

func TestGolden(t *testing.T) {
	for _, dir := range []string{"accept", "reject"} {
		used := map[string]bool{}
		for _, v := range vectors(t, dir) {
			t.Run(dir+"/"+filepath.Base(v.path), func(t *testing.T) {
				used[v.wantPath()] = true
				got, err := v.verdict()
				if (err == nil) != (dir == "accept") {
					t.Fatalf("the verdict is %v", err)
				}
				if *update {
					if err := os.WriteFile(v.wantPath(), []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(v.wantPath())
				if err != nil {
					t.Fatal(err)
				}
				if got != string(want) {
					t.Errorf("%s\n got: %s\nwant: %s", v.wantPath(), got, want)
				}
			})
		}
		wants, err := filepath.Glob(filepath.Join(corpus, dir, "*.want"))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range wants {
			if !used[want] {
				t.Errorf("%s belongs to no payload", want)
			}
		}
	}
}
