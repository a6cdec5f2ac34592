// Package merge makes one day out of what a participant's sources counted, minute by minute. It is
// pure: cells in, minutes and decisions out.
//
// A [Day] holds its sources in the participant's order of priority. A [Merger] with a [Config] gives
// the day's steps ([Merger.Steps]), its minutes ([Merger.Minutes]) or both with the decision for every
// minute ([Merger.Explain]).
//
// # The order of work
//
//  1. The one-minute lanes are merged by the policy, in the order of the sources.
//  2. Coarser records follow, shorter intervals first and sources in order within one interval. Finer
//     data goes before coarser data whatever the order of the sources.
//  3. Cells of an origin that the programme excludes or caps come last and only fill, so that they
//     never displace what a sensor counted.
//
// # priority-fill
//
// A minute in which no source so far counted a step is open. What the next source counted in open
// minutes is taken by three rules.
//
// Not carried: in a run of at least NotCarriedMinutes open minutes the sources so far are taken to lie
// on a table, and the next one is believed. At an end of the run that touches a counted minute,
// ClockToleranceMinutes are left to the walk that it belongs to, unless the next source went on
// counting beyond them.
//
// Recorded whole: the remaining minutes fall into walks, which end where all sources are silent for
// ClockToleranceMinutes. A walk of which the sources so far left out minutes is taken from the next
// source as a whole, if that one left out none and counted no less.
//
// Never more than one source counted: otherwise minutes that were not reported are filled, then
// minutes that were reported as zero, those with the larger counts first, but the latter only until the
// walk has as many steps as the next source counted for it. What two clocks that disagree smear over
// the edges of a walk is therefore not counted twice.
//
// A source that reports no zero on the whole day leaves its zeros out: its unreported minutes are
// zeros.
//
// # Coarse records
//
// What a record of more than a minute counts beyond the finer cells of the same source and origin is
// compared with what was merged in the minutes that those cells leave free. Only the difference is
// added, spread over the open ones of these minutes in integers that sum exactly. So a record is never
// added to finer ones of its source, and with those of other sources an interval has no more steps than
// the source that counted most of it. Nothing is spread into minutes that had not begun (Day.Elapsed),
// so the record of a whole day that still grows stays in the part of the day that has passed.
//
// # Invariants
//
//   - The day's steps are the sum of its minutes.
//   - No minute of the one-minute lanes exceeds the largest count that a source has for it.
//   - A source alone, its origins accepted, is itself: its cells, each coarse record's rest spread over
//     the minutes that its finer cells leave unreported.
//   - Equal sources give the same day in any order.
//   - Steps and excluded steps together are what the day has when capped and excluded origins fill
//     without limit.
//
// Caveats: two sources whose clocks differ by more than ClockToleranceMinutes are not recognised as the
// same walk at its edges. A Merger is for one goroutine.
package merge
