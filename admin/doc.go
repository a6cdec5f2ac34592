// Package admin is the administrative interface of a running gateway: HTTP and JSON over the unix
// socket admin.sock in its data directory, the server's side and the client's side in one room so
// that they cannot drift apart.
//
// Invariants:
//   - Whoever may open the socket (mode 0600: the user that runs the gateway, and root) may do
//     everything. There is no other credential.
//   - A listing is complete or says that it is not. Streams are newline-delimited JSON whose last
//     line is {"end":true,"count":N}, or {"error":PROBLEM}; the client reports a stream without
//     either as broken off. No row has "end" or "error" as its first member.
//   - A secret appears in the one answer that hands it out, never in a log.
//   - Errors are RFC 9457 problem documents. The client turns them back into *steps.Error of the
//     same kind and text.
//   - A client that stops reading is cut off after WriteWait, so that it holds nothing in the store.
//
// # Routes
//
//	GET    /v1/participants?after=&limit=          one page by ID
//	POST   /v1/participants                        {participant, born?}
//	GET    /v1/participants/{id}                   with bindings
//	PATCH  /v1/participants/{id}                   {born}; null is unknown; scores the person anew
//	GET    /v1/devices?after=&limit=               one page by ID
//	POST   /v1/devices                             {device, kind} → {device, secret}
//	GET    /v1/devices/{id}                        with bindings and last contact
//	POST   /v1/devices/{id}/rotate                 → {device, secret}
//	POST   /v1/devices/{id}/revoke, /restore
//	POST   /v1/devices/{id}/bind                   {participant, from?}
//	POST   /v1/devices/{id}/unbind                 {until?}
//	POST   /v1/provision?dry_run=&skip_existing=   text/csv → text/csv participant,device,secret
//	GET    /v1/days?from=&to=&participant=         stream; waits until points are settled
//	GET    /v1/quarantine?device=&reason=&state=&limit=   stream, without raw bytes
//	GET    /v1/quarantine/{id}                     with raw bytes in base64
//	POST   /v1/quarantine/{id}/release, /discard   {by, reason}
//	GET    /v1/participants/{id}/balance           what they have; waits until points are settled
//	GET    /v1/participants/{id}/statement         stream of the ledger's lines; the same
//	POST   /v1/participants/{id}/entries           {kind, key, points, period?, account?, day?, by, reason}
//	GET    /v1/participants/{id}/activities?from=&to=
//	POST   /v1/participants/{id}/activities        {day, kind, by}
//	POST   /v1/participants/{id}/activities/cancel {day, kind, by, reason}
//	GET    /v1/balances                            stream; waits until points are settled
//	GET    /v1/totals                              the trial balance; the same
//	GET    /v1/closed?from=&to=                    stream of the days whose points are final
//	POST   /v1/closed                              {day or through, early?, by}
//	GET    /v1/late?from=&to=&participant=&undecided=   stream of closed days whose data changed
//	POST   /v1/late/discard                        {participant, day, by, reason}
//	GET    /v1/reviews?from=&to=&participant=&state=&kind=&undecided=   stream of flagged days
//	POST   /v1/reviews/run                         {from?, to?} → stream of how far it has come
//	GET    /v1/participants/{id}/days/{day}/review
//	POST   /v1/participants/{id}/days/{day}/review/clear, /uphold, /appeal   {by, reason}
//	GET    /v1/periods                             stream: the current one, and those that hold points
//	POST   /v1/periods/{id}/expire
//	GET    /v1/prizes                              stream
//	PUT    /v1/prizes/{id}                         {name_ja, name_en, price, stock or unlimited, from?, until?}
//	GET    /v1/exchanges?participant=&prize=&state=    stream
//	POST   /v1/exchanges                           {participant, key, prize, price, by?}
//	GET    /v1/exchanges/{id}
//	POST   /v1/exchanges/{id}/ship                 {by}
//	POST   /v1/exchanges/{id}/cancel               {by, reason}
//	GET    /v1/calendar                            zone and today
//	GET    /v1/status                              version, addresses, data directory, start
//
// An entry and an exchange have a request key, new for each thing asked for: the same request again is
// answered with what is there, and the same key with other content is a Conflict.
//
// Dates are written 2026-11-23, instants by RFC 3339 in UTC. Provisioning answers with the trailer
// Ayumi-Outcome, which holds what the last line of a stream holds.
//
// Caveat: the path of a unix socket holds about a hundred bytes. Longer data directories are
// reached through /proc/self/fd, which only Linux has; elsewhere they are refused with the remedy.
package admin
