// Package ingest is the pipeline from an authenticated payload to a durable commit: decode, find
// whose it is, validate, hand to the store, report the outcome. Its folders are the listeners.
//
// Invariants:
//   - A payload is acknowledged only through Completion.Complete with a nil error, which the store
//     calls after its fsync (the ack law).
//   - Identity comes from the credential. A payload names a device only inside a reader's bundle.
//   - Every series ends up in the store or in quarantine. One bad series leaves its neighbours
//     alone, one bad upload of a bundle leaves the other devices alone.
//   - No device can take more of the gateway than its allowance, over all of its connections; it is
//     slowed and loses nothing.
//   - Decoding and validating run on the caller's goroutine, so they scale with connections; only
//     the store's committer is shared.
package ingest
