// Package ledger holds the rules of the points' double-entry bookkeeping: between which accounts a
// kind of entry may move points, what an entry does to a balance, and which point period an exchange
// takes from. It is pure: the store calls it inside its transactions, tests call it on their own.
//
// Invariants:
//   - A posting takes from one account what it gives to another, so all accounts together are zero.
//   - No account of a participant becomes negative; an entry that would make it so is a Conflict and
//     changes nothing.
//   - Whatever staff do says who did it and why.
//
// docs/ledger.md explains the accounts to those who audit them.
package ledger
