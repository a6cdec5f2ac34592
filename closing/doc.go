// Package closing makes points final: it closes days when late data no longer change them, and takes
// the points of periods that are over. What a closing does to the ledger is the store's matter
// ([steps.CloseRequest]); this room knows when, into which point period, and in which order.
//
// Where to look: periods.go is the programme's calendar, pure; closer.go closes and expires, on its own
// and when staff ask; run.go is the long-running job, in rounds.
//
// Invariants:
//   - Days are closed in order, and one that is not due yet holds up those after it. Days without data
//     in between are closed too, so that what comes for them afterwards is late like everything else.
//   - A day is never closed over data that were acknowledged before: the points engine settles first,
//     and the store refuses what it has not scored.
//   - A day is looked at for what seems wrong before it is closed; if that cannot be done, it is not closed.
//   - Everything may be interrupted at any moment and repeated. What was interrupted is gone on with at
//     the next pass, into the period into which it began.
//
// Caveats:
//   - Days before the first with data are left open, and due days are closed when a day begins, or when
//     a gateway that was started has had patience. So a gateway that is new, or into which an export of past
//     years is replayed, takes all of it until then.
//   - Who sets the clock forward closes the days that have data. Nothing opens a day again.
package closing
