// Package points turns a day's steps into points. It has two halves:
//
//   - A rule book ([RuleBook]) is versioned data read from YAML: rule sets with the first day each
//     applies to. [RuleSet.Score] is a pure function of steps and age that returns the points
//     together with the band, tier and cap that produced them, so that an award can be explained.
//   - The [Engine] walks the days whose steps changed, scores them and stores the awards.
//
// Invariants:
//   - The same steps, age and rule set give the same score, whenever and in whatever order days are
//     scored. Nothing here looks at a clock except to wait before a retry.
//   - More steps never earn fewer points unless the rule set says allow_decreasing, and a day never
//     earns more than its daily cap.
//   - Every age, the unknown one included, falls into exactly one band of every rule set.
//   - A rule book that contains a mistake is refused as a whole and every mistake is named; no rule
//     is guessed.
//   - An award is computed from one DirtyDay and carries its mark, so a change that comes while the
//     day is being scored leaves the day dirty and it is scored again.
//   - A day that no rule set covers is awarded 0 points under the rule set "".
//
// Caveats:
//   - Any change of the rule book's meaning rescores every stored day, those included that the
//     change does not touch.
//   - Ages are read when a day is scored. Whoever corrects a date of birth marks that person's days
//     dirty.
//   - A RuleBook and its RuleSets are shared and must not be modified.
package points
