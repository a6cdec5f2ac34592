package merge

import (
	"fmt"
	"strconv"
	"strings"

	"ayumi/steps"
)

// Policy says how sources that overlap become one day.
type Policy uint8

// The policies, as stored.
const (
	OneDevice    Policy = 1 // one source a day: the chosen one, or the first that counted steps
	PriorityFill Policy = 2 // sources in order, gaps filled from the next one
	MaxMinute    Policy = 3 // for each minute the largest count
)

var policyNames = [...]string{"", "one-device", "priority-fill", "max-minute"}

// String returns the policy's name as it stands in a configuration.
func (p Policy) String() string {
	if p > 0 && int(p) < len(policyNames) {
		return policyNames[p]
	}
	return fmt.Sprintf("policy(%d)", uint8(p))
}

// MarshalText writes the policy's name.
func (p Policy) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads a policy's name.
func (p *Policy) UnmarshalText(b []byte) error {
	for i, name := range policyNames {
		if i > 0 && name == string(b) {
			*p = Policy(i)
			return nil
		}
	}
	return steps.Errorf("read merge policy", steps.Invalid, "%q is no policy; use one-device, priority-fill or max-minute", b)
}

// Treatment says what becomes of counts of one origin.
type Treatment uint8

// The treatments, as stored.
const (
	Exclude Treatment = 1 // not counted, reported as excluded
	Cap     Treatment = 2 // counted up to a number of steps a day, the rest excluded
	Accept  Treatment = 3 // like a sensor's
)

// OriginRule is the treatment of one origin. As text it is "exclude", "accept" or "cap:N".
type OriginRule struct {
	Treatment Treatment
	Steps     uint64 // with Cap: the most that counts in a day
}

// String returns the rule as it stands in a configuration.
func (r OriginRule) String() string {
	switch r.Treatment {
	case Exclude:
		return "exclude"
	case Cap:
		return fmt.Sprintf("cap:%d", r.Steps)
	case Accept:
		return "accept"
	}
	return fmt.Sprintf("treatment(%d)", uint8(r.Treatment))
}

// MarshalText writes the rule.
func (r OriginRule) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads a rule. A space may follow the colon of "cap:N".
func (r *OriginRule) UnmarshalText(b []byte) error {
	switch s := string(b); s {
	case "exclude":
		*r = OriginRule{Treatment: Exclude}
		return nil
	case "accept":
		*r = OriginRule{Treatment: Accept}
		return nil
	default:
		limit, ok := strings.CutPrefix(s, "cap:")
		n, err := strconv.ParseUint(strings.TrimLeft(limit, " "), 10, 32)
		if !ok || err != nil {
			return steps.Errorf("read origin rule", steps.Invalid, "%q is no rule; use exclude, accept or cap:3000", b)
		}
		*r = OriginRule{Treatment: Cap, Steps: n}
		return nil
	}
}

// Config is a programme's merge policy.
type Config struct {
	Policy  Policy     `yaml:"policy" json:"policy"`
	Manual  OriginRule `yaml:"manual" json:"manual"`   // steps that somebody typed in
	Unknown OriginRule `yaml:"unknown" json:"unknown"` // steps of which the device does not say how it counted them
	// NotCarriedMinutes is how long a source counts nothing before it is taken not to be carried.
	NotCarriedMinutes int `yaml:"not_carried_minutes" json:"not_carried_minutes"`
	// ClockToleranceMinutes is by how much two sources' clocks may differ and still see the same walk.
	ClockToleranceMinutes int `yaml:"clock_tolerance_minutes" json:"clock_tolerance_minutes"`
}

// DefaultConfig fills gaps in the order of the sources and leaves out what was typed in. An origin
// that is not given counts: plain pedometers do not give one.
func DefaultConfig() Config {
	return Config{
		Policy:                PriorityFill,
		Manual:                OriginRule{Treatment: Exclude},
		Unknown:               OriginRule{Treatment: Accept},
		NotCarriedMinutes:     10,
		ClockToleranceMinutes: 2,
	}
}

// Validate reports the first setting that makes no sense, as Invalid.
func (c *Config) Validate() error {
	const op = "use merge policy"
	if c.Policy < OneDevice || c.Policy > MaxMinute {
		return steps.Errorf(op, steps.Invalid, "policy is %s; use one-device, priority-fill or max-minute", c.Policy)
	}
	for _, o := range [...]steps.Origin{steps.OriginManual, steps.OriginUnknown} {
		if r := c.rule(o); r.Treatment < Exclude || r.Treatment > Accept {
			return steps.Errorf(op, steps.Invalid, "%s is %s; use exclude, accept or cap:3000", o, r)
		}
	}
	if c.ClockToleranceMinutes < 1 || c.ClockToleranceMinutes > 60 {
		return steps.Errorf(op, steps.Invalid, "clock_tolerance_minutes is %d; use 1 to 60", c.ClockToleranceMinutes)
	}
	if c.NotCarriedMinutes <= 2*c.ClockToleranceMinutes || c.NotCarriedMinutes > MaxMinutes {
		return steps.Errorf(op, steps.Invalid, "not_carried_minutes is %d; use more than twice the clock_tolerance_minutes, %d, and at most %d",
			c.NotCarriedMinutes, c.ClockToleranceMinutes, MaxMinutes)
	}
	return nil
}

// rule returns how an origin is treated. An origin of a later version counts as unknown.
func (c *Config) rule(o steps.Origin) OriginRule {
	switch o {
	case steps.OriginSensor:
		return OriginRule{Treatment: Accept}
	case steps.OriginManual:
		return c.Manual
	}
	return c.Unknown
}
