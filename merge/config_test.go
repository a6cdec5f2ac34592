package merge

import (
	"testing"

	"go.yaml.in/yaml/v3"

	"ayumi/steps"
)

func TestConfigText(t *testing.T) {
	cfg := DefaultConfig()
	text, err := yaml.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	want := "policy: priority-fill\nmanual: exclude\nunknown: accept\nnot_carried_minutes: 10\nclock_tolerance_minutes: 2\n"
	if string(text) != want {
		t.Errorf("the defaults are\n%s\nwant\n%s", text, want)
	}
	var got Config
	if err := yaml.Unmarshal([]byte("policy: max-minute\nmanual: \"cap: 3000\"\nunknown: cap:0\n"), &got); err != nil {
		t.Fatal(err)
	}
	if got.Policy != MaxMinute || got.Manual != (OriginRule{Cap, 3000}) || got.Unknown != (OriginRule{Treatment: Cap}) {
		t.Errorf("read %+v", got)
	}
	for _, bad := range []string{"policy: sum", "policy: ''", "manual: cap", "manual: cap:-1", "manual: cap:x", "unknown: reject", "unknown: cap:99999999999"} {
		if err := yaml.Unmarshal([]byte(bad), &got); err == nil {
			t.Errorf("%s was read as %+v", bad, got)
		}
	}
}

func TestConfigValidate(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"no policy":         func(c *Config) { c.Policy = 0 },
		"a later policy":    func(c *Config) { c.Policy = 4 },
		"no manual rule":    func(c *Config) { c.Manual = OriginRule{} },
		"no unknown rule":   func(c *Config) { c.Unknown = OriginRule{} },
		"no tolerance":      func(c *Config) { c.ClockToleranceMinutes = 0 },
		"a long tolerance":  func(c *Config) { c.ClockToleranceMinutes, c.NotCarriedMinutes = 61, 200 },
		"tolerance too big": func(c *Config) { c.ClockToleranceMinutes = 5 },
		"never not carried": func(c *Config) { c.NotCarriedMinutes = MaxMinutes + 1 },
	} {
		cfg := DefaultConfig()
		change(&cfg)
		if _, err := New(cfg); steps.KindOf(err) != steps.Invalid {
			t.Errorf("%s: %v, want Invalid", name, err)
		}
	}
}

func TestNames(t *testing.T) {
	for r := OnlySource; r <= Unreported; r++ {
		if text, _ := r.MarshalText(); string(text) != reasonNames[r] || len(text) == 0 {
			t.Errorf("reason %d is %q", r, text)
		}
	}
	for got, want := range map[string]string{
		Reason(0).String(): "reason(0)", Reason(99).String(): "reason(99)", Policy(0).String(): "policy(0)",
		(OriginRule{}).String(): "treatment(0)", (OriginRule{Cap, 7}).String(): "cap:7",
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
