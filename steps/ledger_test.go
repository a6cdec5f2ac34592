package steps

import "testing"

func TestParsePeriodID(t *testing.T) {
	for text, good := range map[string]bool{
		"2026": true, "spring@2026-04-01": true, "": false, "spring@": false, "spring@2026-13-01": false,
		"@2026-04-01": false, "spring 2026": false, "a@2026-04-01@2026-04-02": false,
	} {
		if id, err := ParsePeriodID(text); (err == nil) != good || good && string(id) != text || !good && KindOf(err) != Invalid {
			t.Errorf("%q: %q, %v", text, id, err)
		}
	}
}
