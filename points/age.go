package points

import (
	"time"

	"ayumi/steps"
)

// UnknownAge stands for the age of a participant whose date of birth is not known.
const UnknownAge = -1

// Age returns the age in full years on a day by the calendar birthday, as municipal tables use it,
// and UnknownAge for a day before birth.
//
// In law (年齢計算ニ関スル法律, Act No. 50 of 1902, with Civil Code art. 143) a year of age is
// attained at the end of the day before the birthday. Counted in whole days that is the birthday
// itself, which is what Age returns. A person born on 29 February attains it at the end of
// 28 February, so in common years the first day of the new age is 1 March.
func Age(born, on steps.Day) int {
	if on < born {
		return UnknownAge
	}
	by, bm, bd := born.Date()
	y, m, d := on.Date()
	age := y - by
	if before(m, d, bm, bd) {
		age--
	}
	return age
}

// before reports whether the date m/d comes earlier in the year than n/e. 1 March does not come
// before 29 February, 28 February does.
func before(m time.Month, d int, n time.Month, e int) bool {
	return m < n || m == n && d < e
}
