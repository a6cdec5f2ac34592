package explain

import (
	"fmt"
	"strconv"
	"strings"

	"ayumi/steps"
)

// Language is one that residents are spoken to in.
type Language uint8

const (
	Japanese Language = 1
	English  Language = 2
)

// ParseLanguage reads "ja" or "en".
func ParseLanguage(s string) (Language, error) {
	switch s {
	case "ja":
		return Japanese, nil
	case "en":
		return English, nil
	}
	return 0, steps.Errorf("choose language", steps.Invalid, "%q is none; give ja or en", s)
}

// number writes digits in groups of three.
func number[N ~int | ~int64 | ~uint64 | ~uint32](n N) string {
	s := strconv.FormatInt(int64(n), 10)
	var b strings.Builder
	for i, c := range s {
		if i > 0 && c != '-' && (len(s)-i)%3 == 0 && s[i-1] != '-' {
			b.WriteByte(',')
		}
		b.WriteRune(c)
	}
	return b.String()
}

// say formats the Japanese or the English text with the values.
func (l Language) say(japanese, english string, values ...any) string {
	text := english
	if l == Japanese {
		text = japanese
	}
	return fmt.Sprintf(text, values...)
}

// amount says how many points.
func (l Language) amount(n steps.Points) string {
	if n == 1 {
		return l.say("1ポイント", "1 point")
	}
	return l.say("%sポイント", "%s points", number(n))
}
