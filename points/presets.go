package points

import (
	"bytes"
	"embed"
	"io/fs"
	"path"
	"strings"

	"ayumi/steps"
)

//go:embed presets/*.yaml
var presetFiles embed.FS

const presetDir = "presets"

// Presets returns the names of the rule books that come with Ayumi, in alphabetical order.
func Presets() []string {
	entries, err := fs.ReadDir(presetFiles, presetDir)
	if err != nil {
		panic("points: embedded presets: " + err.Error())
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	return names
}

// Preset returns a rule book that comes with Ayumi: the published table of a real programme, in
// force from 2000-01-01 so that it covers whatever is replayed through it. Each file under presets
// names its source. An unknown name is NotFound.
func Preset(name string) (*RuleBook, error) {
	op := "load preset rules"
	for _, known := range Presets() {
		if known != name {
			continue
		}
		file := path.Join(presetDir, name+".yaml")
		data, err := presetFiles.ReadFile(file)
		if err != nil {
			return nil, steps.E(op, steps.Internal, err)
		}
		return ParseRules(file, bytes.NewReader(data))
	}
	return nil, steps.Errorf(op, steps.NotFound, "there is no preset %.40q; use one of %s, or a rules file",
		name, strings.Join(Presets(), ", "))
}
