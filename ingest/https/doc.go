// Package https is the HTTPS listener: it turns POST /v1/uploads into an ingest.Envelope, waits for
// the commit and answers the receipt, and it answers GET /v1/days with the caller's own days.
//
// Invariants:
//   - Ack law: 200 is written only after Complete was called with a nil error for that very
//     request. Whatever else happens (refusal, timeout, panic, lost client) is no 200, and the
//     client sends again; repeating an upload is harmless.
//   - Identity is the HTTP Basic credential (RFC 7617). It is checked before the body is read.
//   - Memory is bounded: a request holds at most one body of MaxBodyBytes as received and one
//     decompressed, MaxInFlight requests are handled at once and as many wait, and a decompressor stops at
//     MaxBodyBytes however much its input promises. Decompressors run on bodies that have arrived
//     completely, so a slow sender never holds one.
//   - No device takes more than RequestsPerDevice of the places or more than its allowance; neither
//     is asked before the credential was checked, and the body is not read before both.
//   - Every answer that this package writes is a receipt, a list of days, or a problem document
//     (RFC 9457) whose type is stable and whose detail names the field and the remedy. Status 500
//     says nothing about its cause; the log does.
//   - Metric labels are bounded: routes, status codes and codings that this package knows.
//
// Caveats:
//   - A receipt of 200 may say "quarantined": the payload is durable, but staff must look at it.
//     Only a payload of which nothing could be decoded is answered with 400, and it too is kept.
//   - A device ID may contain a colon, a Basic user-id may not (RFC 7617 section 2): such a client
//     writes it as %3A.
//   - A request that net/http itself refuses (bad request line, header fields beyond the limit,
//     plain HTTP sent to the TLS port) is answered by net/http in plain text.
//   - 503 after CommitTimeout leaves the outcome unknown: the upload may become durable later.
//   - HTTP/2 needs "h2" in the TLS listener's ALPN list; NewTLSListener puts it there.
package https
