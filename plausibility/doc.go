// Package plausibility says which merged days staff should look at before they earn points. It is
// pure: a day in, flags out. It deletes and corrects nothing.
//
// A [Scorer] with a [Config] gives a [Report]: the flags that a day raised, each with the minutes, the
// figure and the limit that it rests on, their sum, and a suggestion: nothing, review or hold. A flag's
// score is the rule's weight at the limit and twice that at twice the limit, at most 100.
//
// Copies are found in two steps. [Scorer.Fingerprint] gives a day of enough activity a value of fixed
// size that a store can keep and index: days that differ by a few minutes or by noise have fingerprints
// that differ in few bits ([Scorer.Near]), and mostly share one of its bands ([Fingerprint.Bands]). The
// minutes of days that are near are given to [Scorer.Score] as peers, which compares them in earnest.
//
// Invariants:
//   - A report depends on the day and its peers alone.
//   - Rules about single minutes do not look at minutes that are a share of a coarse record: those
//     are even by construction.
//   - A day with less than PatternConfig.ActiveMinutes of activity has no fingerprint: short days look
//     alike.
//   - Work and memory are bounded by the minutes of the day and of each peer.
//
// Caveats: a day of several sources is judged as merged. A machine that walks like a person, or for less
// than the limits, is not recognised; two people who carry their devices only while they walk
// together differ too little from one person with two devices to be told apart, and are not flagged.
package plausibility
