// Package review is how staff look at days that seem wrong. It finds them with the plausibility room, keeps what
// became of them by rules of its own, and has their points held until somebody has decided. It accuses nobody and
// changes no steps.
//
// Where to look: review.go has the nouns, rules.go what may follow what, both pure; reviewer.go is the
// long-running job; look.go scores one day of everybody, near.go finds copies among them.
//
// Invariants:
//   - A day is looked at in full before it is closed, and on each night of [Config.CompareDays] before that as far as
//     it changed since.
//   - The points of a day whose review is held or upheld go to pending when the day is closed, and leave it by a
//     release that names who decided and why, or by a correction.
//   - A decision on a review is never overwritten: an appeal, and what is found anew, are added to it.
//   - A look may be interrupted and repeated at any moment; what it finds again changes nothing.
//
// Caveats:
//   - The nightly look takes a day for unchanged whose total is the same. The look before the closing does not.
//   - Copies are looked for among everybody's same day, and among one person's days of the last
//     [Config.CompareDays]. Somebody else's other days are not compared.
//   - What comes in between the last look and the closing, seconds later, is not looked at.
package review
