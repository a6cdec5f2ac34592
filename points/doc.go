// Package points turns what people do into points. It has two halves:
//
//   - A rule book ([RuleBook]) is versioned data read from YAML: rule sets with the first day each
//     applies to, point periods, holidays. Scoring is a pure fold over one participant's consecutive
//     days: [RuleBook.Begin], and then [RuleBook.Step] with the [Facts] of each day and the [Person].
//     [RuleBook.Explain] does the same and returns a line for each rule that earned: points before
//     and after caps, the cap that cut them, the tier, the figure. [RuleBook.Window] says which days
//     late data can change.
//   - The [Engine] scores the days of which something changed, with those that depend on them, and
//     stores the awards. history.go puts together what is known of a participant, batch.go scores dirty
//     days, sweep.go everybody's; keepup.go says when.
//
// Where to look: parse*.go and check.go read a rule book; score.go is the fold, state.go what it
// keeps; tiers.go, walking.go, goals.go, streaks.go, sending.go and activities.go are the kinds of
// rules, caps.go cuts what they give, conditions.go is their `when`; eligibility.go and periods.go say
// which days count. docs/rules.md is the language as a ward's clerk reads it.
//
// Invariants:
//   - The same facts, person and rules give the same scores, whenever they are computed, however the
//     facts were assembled, and wherever a fold was interrupted and went on from a copy of its State.
//     Days without facts may be left out. Nothing here looks at a clock except to wait before a retry.
//   - A day's points are the sum of its lines. No cap is ever exceeded.
//   - Within a rule set without conditions, more steps never earn less in total unless it says
//     allow_decreasing: a day that comes late joins streaks and never takes one away. (What a rate
//     carries over a birthday that changes the rate is the exception.)
//   - Every age, or every cohort, the unknown one included, falls into exactly one band of a table.
//   - A rule book that contains a mistake is refused as a whole and every mistake is named; no rule
//     is guessed. What only looks wrong is listed by [CheckRules].
//   - A condition or a day's minutes that fail are an error that names rule and day, never 0 points.
//   - The award of a dirty day carries its mark, so a change that comes while the day is being scored
//     leaves the day dirty and it is scored again. In the end every award is what one fold over
//     everything gives, whatever order things came in.
//   - A day that no rule set covers is awarded 0 points under the rule set "".
//
// Caveats:
//   - Any change of the rule book's meaning rescores every stored day, those included that the
//     change does not touch. Dirty days go first meanwhile.
//   - A closed day counts with what it has, corrections included, and not with what its late data would have
//     earned: the parts of its award say what single rules gave and used up. Streaks and goal days, and the
//     baseline, do look at its steps as they are known by now.
//   - Counts and caps go on from one rule set to the next for rules of the same name that count the
//     same; others begin anew.
//   - Ages are read when a day is scored. Whoever corrects a date of birth marks that person's days
//     dirty.
//   - A RuleBook and its RuleSets are shared and must not be modified.
package points
