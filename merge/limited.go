package merge

import "ayumi/steps"

// addLimited merges the cells of an origin that is capped or excluded and counts what its rule allows,
// in the order of the minutes.
func (m *Merger) addLimited(o steps.Origin) {
	var set origins
	set[o] = true
	m.before = append(m.before[:0], m.full...)
	m.addAll(&set)
	rule := m.cfg.rule(o)
	var left, excluded uint64
	if rule.Treatment == Cap {
		left = rule.Steps
	}
	for i, n := range m.full {
		if n == m.before[i] {
			continue
		}
		filled := value(n) - value(m.before[i])
		counts := min(filled, left)
		left -= counts
		excluded += filled - counts
		m.counted[i] = uint32(value(m.counted[i]) + counts)
		m.noteLimited(i, filled-counts, rule)
	}
	if o == steps.OriginManual {
		m.excluded.Manual = excluded
	} else {
		m.excluded.Unknown = excluded
	}
}

// noteLimited remembers why not all that an origin filled in a minute counts.
func (m *Merger) noteLimited(minute int, excluded uint64, rule OriginRule) {
	if !m.tracing || excluded == 0 {
		return
	}
	m.trace[minute].reason = OriginExcluded
	if rule.Treatment == Cap {
		m.trace[minute].reason = OriginCapped
	}
}
