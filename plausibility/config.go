package plausibility

import (
	"fmt"
	"slices"
	"strings"

	"ayumi/steps"
)

// Config holds every limit. A rule with weight 0 is off.
type Config struct {
	Day      TotalConfig     `yaml:"day" mapstructure:"day"`
	Hour     TotalConfig     `yaml:"hour" mapstructure:"hour"`
	Cadence  CadenceConfig   `yaml:"cadence" mapstructure:"cadence"`
	Coverage CoverageConfig  `yaml:"coverage" mapstructure:"coverage"`
	Flat     FlatConfig      `yaml:"flat" mapstructure:"flat"`
	Unbroken UnbrokenConfig  `yaml:"unbroken" mapstructure:"unbroken"`
	Brisk    BriskConfig     `yaml:"brisk" mapstructure:"brisk"`
	Regular  RegularConfig   `yaml:"regular" mapstructure:"regular"`
	Evening  EveningConfig   `yaml:"evening" mapstructure:"evening"`
	Coarse   TotalConfig     `yaml:"coarse" mapstructure:"coarse"`
	Pattern  PatternConfig   `yaml:"pattern" mapstructure:"pattern"`
	Suggest  ThresholdConfig `yaml:"suggest" mapstructure:"suggest"`
}

// TotalConfig limits a number of steps: of a day, of any 60 minutes, of a day's coarse records.
type TotalConfig struct {
	Weight int    `yaml:"weight" mapstructure:"weight"`
	Steps  uint64 `yaml:"steps" mapstructure:"steps"` // more are flagged
}

// CadenceConfig limits how long somebody runs.
type CadenceConfig struct {
	Weight  int    `yaml:"weight" mapstructure:"weight"`
	Steps   uint32 `yaml:"steps" mapstructure:"steps"`     // more of them in a minute
	Minutes int    `yaml:"minutes" mapstructure:"minutes"` // in so many minutes in a row or more are flagged
}

// CoverageConfig limits in how many hours of a day somebody is active.
type CoverageConfig struct {
	Weight  int    `yaml:"weight" mapstructure:"weight"`
	Minutes int    `yaml:"minutes" mapstructure:"minutes"` // an hour is active with so many minutes with steps
	Steps   uint64 `yaml:"steps" mapstructure:"steps"`     // and so many steps
	Hours   int    `yaml:"hours" mapstructure:"hours"`     // so many active hours or more are flagged
}

// FlatConfig limits how long somebody walks evenly, as a pendulum or a shaker does.
type FlatConfig struct {
	Weight     int     `yaml:"weight" mapstructure:"weight"`
	Window     int     `yaml:"window" mapstructure:"window"`           // minutes whose variation is looked at
	Variation  float64 `yaml:"variation" mapstructure:"variation"`     // standard deviation by mean up to which they are even
	MaxCadence uint32  `yaml:"max_cadence" mapstructure:"max_cadence"` // steps a minute above which they are running, which is even
	Minutes    int     `yaml:"minutes" mapstructure:"minutes"`         // so many even minutes in a day or more are flagged
}

// UnbrokenConfig limits how long somebody walks without a rest.
type UnbrokenConfig struct {
	Weight  int    `yaml:"weight" mapstructure:"weight"`
	Cadence uint32 `yaml:"cadence" mapstructure:"cadence"` // steps in a minute of walking, at least
	Pauses  int    `yaml:"pauses" mapstructure:"pauses"`   // minutes of less that do not end the walk, altogether
	Minutes int    `yaml:"minutes" mapstructure:"minutes"` // a walk of so many minutes or more is flagged
}

// BriskConfig looks for days in which nobody ever takes a few steps.
type BriskConfig struct {
	Weight  int     `yaml:"weight" mapstructure:"weight"`
	Cadence uint32  `yaml:"cadence" mapstructure:"cadence"` // steps in a brisk minute, at least
	Small   uint32  `yaml:"small" mapstructure:"small"`     // fewer steps than this are a small movement
	Minutes int     `yaml:"minutes" mapstructure:"minutes"` // from so many brisk minutes on
	Share   float64 `yaml:"share" mapstructure:"share"`     // this share of small movements among all active minutes, or less, is flagged
}

// RegularConfig looks for counts that nobody counted.
type RegularConfig struct {
	Weight   int     `yaml:"weight" mapstructure:"weight"`
	Minutes  int     `yaml:"minutes" mapstructure:"minutes"`   // from so many minutes of 20 steps or more on
	Repeated float64 `yaml:"repeated" mapstructure:"repeated"` // this share of counts equal to the minute before, or more, is flagged
	Round    float64 `yaml:"round" mapstructure:"round"`       // this share of multiples of ten, or more, is flagged
}

// EveningConfig looks for days that were made up late.
type EveningConfig struct {
	Weight int     `yaml:"weight" mapstructure:"weight"`
	From   int     `yaml:"from" mapstructure:"from"`   // minute of the day
	Steps  uint64  `yaml:"steps" mapstructure:"steps"` // in a day of so many steps or more
	Share  float64 `yaml:"share" mapstructure:"share"` // this share after From, or more, is flagged
}

// PatternConfig says when two days are copies of each other.
type PatternConfig struct {
	Weight        int     `yaml:"weight" mapstructure:"weight"`                 // of a near copy; an exact one scores 100
	ActiveMinutes int     `yaml:"active_minutes" mapstructure:"active_minutes"` // of 10 steps or more that a day needs to be compared
	Distance      int     `yaml:"distance" mapstructure:"distance"`             // bits by which fingerprints of near days may differ, of 128
	Shift         int     `yaml:"shift" mapstructure:"shift"`                   // minutes by which a copy may be moved
	Share         float64 `yaml:"share" mapstructure:"share"`                   // of the active minutes of both that agree in a near copy
	Small         int     `yaml:"small" mapstructure:"small"`                   // agreeing minutes of less than 60 steps that a near copy needs
	Identical     float64 `yaml:"identical" mapstructure:"identical"`           // of the active minutes of both that are equal in an exact copy
}

// ThresholdConfig turns scores into suggestions.
type ThresholdConfig struct {
	Review int `yaml:"review" mapstructure:"review"` // sum of scores from which a day should be looked at
	Hold   int `yaml:"hold" mapstructure:"hold"`     // sum of scores from which its points should wait until then
}

// DefaultConfig returns limits that the honest days of docs/plausibility.md keep.
func DefaultConfig() Config {
	return Config{
		Day:      TotalConfig{Weight: 50, Steps: 50_000},
		Hour:     TotalConfig{Weight: 50, Steps: 12_000},
		Cadence:  CadenceConfig{Weight: 50, Steps: 220, Minutes: 10},
		Coverage: CoverageConfig{Weight: 80, Minutes: 10, Steps: 100, Hours: 20},
		Flat:     FlatConfig{Weight: 60, Window: 30, Variation: 0.05, MaxCadence: 150, Minutes: 120},
		Unbroken: UnbrokenConfig{Weight: 50, Cadence: 30, Pauses: 5, Minutes: 180},
		Brisk:    BriskConfig{Weight: 30, Cadence: 60, Small: 40, Minutes: 120, Share: 0.05},
		Regular:  RegularConfig{Weight: 50, Minutes: 60, Repeated: 0.4, Round: 0.4},
		Evening:  EveningConfig{Weight: 50, From: 20 * 60, Steps: 15_000, Share: 0.6},
		Coarse:   TotalConfig{Weight: 25, Steps: 20_000},
		Pattern: PatternConfig{
			Weight: 50, ActiveMinutes: 60, Distance: 28, Shift: 5, Share: 0.65, Small: 30, Identical: 0.5,
		},
		Suggest: ThresholdConfig{Review: 50, Hold: 100},
	}
}

// Validate reports the first limit that makes no sense, as Invalid.
func (c *Config) Validate() error {
	for _, check := range []struct {
		ok     bool
		field  string
		remedy string
	}{
		{c.Cadence.Minutes > 0, "cadence.minutes", "use 1 or more"},
		{c.Coverage.Minutes > 0 && c.Coverage.Minutes <= 60, "coverage.minutes", "use 1 to 60"},
		{c.Coverage.Hours > 0 && c.Coverage.Hours <= 26, "coverage.hours", "use 1 to 26"},
		{c.Flat.Window >= 5 && c.Flat.Window <= 1440, "flat.window", "use 5 to 1440"},
		{c.Flat.Variation > 0 && c.Flat.Variation < 1, "flat.variation", "use more than 0 and less than 1"},
		{c.Flat.Minutes >= c.Flat.Window, "flat.minutes", "use no less than flat.window"},
		{c.Unbroken.Cadence > 0, "unbroken.cadence", "use 1 or more"},
		{c.Unbroken.Pauses >= 0 && c.Unbroken.Pauses < c.Unbroken.Minutes, "unbroken.pauses", "use 0 or more and less than unbroken.minutes"},
		{c.Brisk.Small > 0 && c.Brisk.Small <= c.Brisk.Cadence, "brisk.small", "use 1 to brisk.cadence"},
		{c.Brisk.Minutes > 0, "brisk.minutes", "use 1 or more"},
		{share(c.Brisk.Share), "brisk.share", "use more than 0 and at most 1"},
		{c.Regular.Minutes > 0, "regular.minutes", "use 1 or more"},
		{share(c.Regular.Repeated), "regular.repeated", "use more than 0 and at most 1"},
		{share(c.Regular.Round), "regular.round", "use more than 0 and at most 1"},
		{c.Evening.From >= 0 && c.Evening.From < 26*60, "evening.from", "use a minute of the day"},
		{share(c.Evening.Share), "evening.share", "use more than 0 and at most 1"},
		{c.Day.Steps > 0, "day.steps", "use 1 or more"},
		{c.Hour.Steps > 0, "hour.steps", "use 1 or more"},
		{c.Coarse.Steps > 0, "coarse.steps", "use 1 or more"},
		{c.Pattern.ActiveMinutes >= 30, "pattern.active_minutes", "use 30 or more: short days look alike"},
		{c.Pattern.Distance >= 0 && c.Pattern.Distance <= 40, "pattern.distance", "use 0 to 40: unrelated days differ in about 64 bits"},
		{c.Pattern.Shift >= 0 && c.Pattern.Shift <= 60, "pattern.shift", "use 0 to 60"},
		{share(c.Pattern.Share), "pattern.share", "use more than 0 and at most 1"},
		{share(c.Pattern.Identical), "pattern.identical", "use more than 0 and at most 1"},
		{c.Suggest.Review > 0 && c.Suggest.Review <= c.Suggest.Hold, "suggest.review", "use 1 to suggest.hold"},
	} {
		if !check.ok {
			return steps.Errorf("use plausibility limits", steps.Invalid, "%s makes no sense; %s", check.field, check.remedy)
		}
	}
	for kind, weight := range c.weights() {
		if weight < 0 || weight > 100 {
			return steps.Errorf("use plausibility limits", steps.Invalid, "the weight of %s is %d; use 0 to 100", Kind(kind), weight)
		}
	}
	return nil
}

func share(x float64) bool { return x > 0 && x <= 1 }

// weights returns the weight of each kind of flag.
func (c *Config) weights() [lastKind + 1]int {
	return [lastKind + 1]int{
		BusyDay: c.Day.Weight, BusyHour: c.Hour.Weight, HighCadence: c.Cadence.Weight, LongActivity: c.Coverage.Weight,
		FlatCadence: c.Flat.Weight, Unbroken: c.Unbroken.Weight, NoSmallMovement: c.Brisk.Weight,
		RepeatedCounts: c.Regular.Weight, RoundCounts: c.Regular.Weight, LateSteps: c.Evening.Weight,
		CoarseSteps: c.Coarse.Weight, SharedPattern: c.Pattern.Weight, RepeatedPattern: c.Pattern.Weight,
	}
}

// Kind says what a flag is about.
type Kind uint8

// The kinds, as stored and shown. Figure and limit of a flag are in the unit that the kind names.
const (
	BusyDay         Kind = 1  // steps of the day
	BusyHour        Kind = 2  // steps of 60 minutes
	HighCadence     Kind = 3  // minutes in a row at a cadence that nobody keeps up
	LongActivity    Kind = 4  // hours of the day with activity
	FlatCadence     Kind = 5  // minutes of even cadence
	Unbroken        Kind = 6  // minutes of walking without a rest
	NoSmallMovement Kind = 7  // share of small movements among active minutes, too low
	RepeatedCounts  Kind = 8  // share of counts equal to the one before
	RoundCounts     Kind = 9  // share of multiples of ten
	LateSteps       Kind = 10 // share of the day's steps late in the evening
	CoarseSteps     Kind = 11 // steps that nobody saw minute by minute
	SharedPattern   Kind = 12 // share of active minutes that agree with another participant's
	RepeatedPattern Kind = 13 // share of active minutes that agree with another day's

	lastKind = RepeatedPattern
)

var kindNames = [...]string{"", "busy_day", "busy_hour", "high_cadence", "long_activity", "flat_cadence", "unbroken",
	"no_small_movement", "repeated_counts", "round_counts", "late_steps", "coarse_steps", "shared_pattern", "repeated_pattern"}

// String returns the kind's name.
func (k Kind) String() string {
	if k > 0 && int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// MarshalText writes the kind's name.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads a kind's name.
func (k *Kind) UnmarshalText(b []byte) (err error) {
	*k, err = ParseKind(string(b))
	return err
}

// ParseKind reads a kind's name. Another one is Invalid.
func ParseKind(s string) (Kind, error) {
	if i := slices.Index(kindNames[1:], s); i >= 0 {
		return Kind(i + 1), nil
	}
	return 0, steps.Errorf("read kind of flag", steps.Invalid, "%q is none; use one of %s", s, strings.Join(kindNames[1:], ", "))
}

// Kinds returns all kinds, in their order.
func Kinds() (all []Kind) {
	for k := BusyDay; k <= lastKind; k++ {
		all = append(all, k)
	}
	return all
}

// Suggestion is what staff should do with a day.
type Suggestion uint8

// The suggestions, as stored and shown.
const (
	Nothing Suggestion = 0
	Review  Suggestion = 1 // look at it
	Hold    Suggestion = 2 // look at it before its points count
)

var suggestionNames = [...]string{"nothing", "review", "hold"}

// String returns the suggestion's name.
func (s Suggestion) String() string {
	if int(s) < len(suggestionNames) {
		return suggestionNames[s]
	}
	return fmt.Sprintf("suggestion(%d)", uint8(s))
}

// MarshalText writes the suggestion's name.
func (s Suggestion) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
