package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// rooms lists which rooms each room may import. Whoever adds a room decides here where it stands;
// see docs/architecture.md.
var rooms = map[string][]string{
	"steps":                         {},
	"protocol":                      {"steps"},
	"protocol/native":               {"steps", "protocol"},
	"ingest":                        {"steps", "protocol", "protocol/native"},
	"ingest/mqtt":                   {"steps", "ingest"},
	"ingest/https":                  {"steps", "problem", "ingest"},
	"ledger":                        {"steps"},
	"prize":                         {"steps"},
	"rounds":                        {"steps"},
	"review":                        {"steps", "merge", "plausibility", "ledger", "rounds"},
	"store":                         {"steps", "merge", "plausibility", "ledger", "prize", "review"},
	"points":                        {"steps"},
	"closing":                       {"steps", "points", "rounds"},
	"merge":                         {"steps"},
	"plausibility":                  {"steps"},
	"plausibility/plausibilitytest": {},
	"registry":                      {"steps"},
	"pki":                           {"steps"},
	"problem":                       {"steps"},
	"explain":                       {"steps", "merge", "points", "plausibility", "review"},
	"admin":                         {"steps", "problem", "registry", "explain", "points", "plausibility", "review"},
	"uplink":                        {"steps", "problem", "protocol", "protocol/native"},
	"uplink/uplinktest":             {"steps", "protocol", "protocol/native", "uplink"},
	"replay":                        {"steps", "protocol", "protocol/native", "uplink"},
	"replay/replaytest":             {"steps", "replay"},
	"bench":                         {"steps", "protocol/native"},
	"bench/bare":                    {"pki"},
}

// owners lists the libraries that only some rooms may import, so that they can be replaced.
var owners = map[string][]string{
	"github.com/dgraph-io/badger":   {"store"},
	"github.com/eclipse/paho.mqtt":  {"ingest/broker"},
	"github.com/spf13":              {"cmd/ayumi"},
	"github.com/KimMachineGun":      {"cmd/ayumi"},
	"google.golang.org/protobuf":    {"protocol/native"},
	"github.com/klauspost/compress": {"ingest/https", "uplink"},
	"github.com/expr-lang/expr":     {"points"},
}

type goPackage struct {
	ImportPath string
	Imports    []string
}

func TestImportDirections(t *testing.T) {
	for _, p := range listPackages(t) {
		room := strings.TrimPrefix(p.ImportPath, "ayumi/")
		if room == "cmd/ayumi" {
			checkOwners(t, room, p.Imports)
			continue
		}
		allowed, known := rooms[room]
		if !known {
			t.Errorf("package %s is in no room; enter it in rooms and in docs/architecture.md", room)
		}
		checkOwners(t, room, p.Imports)
		for _, imported := range p.Imports {
			target, ours := strings.CutPrefix(imported, "ayumi/")
			if ours && !slices.Contains(allowed, target) {
				t.Errorf("%s imports %s; dependencies point one way", room, target)
			}
			if room == "steps" && strings.Contains(imported, ".") {
				t.Errorf("steps imports %s; it takes the standard library only", imported)
			}
		}
	}
}

func checkOwners(t *testing.T, room string, imports []string) {
	t.Helper()
	for prefix, allowed := range owners {
		for _, imported := range imports {
			if strings.HasPrefix(imported, prefix) && !slices.Contains(allowed, room) {
				t.Errorf("%s imports %s; only %v may", room, imported, allowed)
			}
		}
	}
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "ayumi/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []goPackage
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < len(rooms) {
		t.Fatalf("go list found %d packages; there are %d rooms", len(all), len(rooms))
	}
	return all
}
