// Package explain says in words what a participant's day earned and why: for the resident in Japanese
// and English, for the auditor as data, and as a picture for a terminal.
//
// A [Day] is put together from what the others rooms found: the merge's decision for every minute
// (package merge), the score with a line for each rule that earned (package points), the uploads that
// brought the minutes and the day's standing in the ledger (package store). Nothing is computed here that
// decides points; what is shown is what was decided.
//
// Invariants:
//   - The points of the lines add up to the score; the steps of the decisions to the day's steps.
//   - Whatever a line says is in the data too: a text that a resident reads can be checked by a program.
//   - Both languages say the same.
//
// Caveat: a Day describes the score as it is now. Standing tells what the ledger has, which is older
// while a day waits to be scored, and stays as it was once the day is closed.
package explain
