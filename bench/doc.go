// Package bench is a load generator: it publishes uploads over MQTT or posts them over HTTPS as
// fast as a server acknowledges them, or at a fixed rate, and counts what was acknowledged and when.
//
// Invariants:
//   - Only what the server acknowledged is counted: by a PUBACK, or a 200 with a whole receipt. What
//     it acknowledged but put into quarantine is counted as refused too.
//   - At a fixed rate a message's latency runs from the moment at which it was due, not from the
//     moment at which it could be sent. A server that stalls is charged for everything that should
//     have been sent meanwhile.
//   - An upload is a real one. Its revision rises and its minutes advance through the days given,
//     then begin anew with a higher revision, so that each upload changes what a gateway stores, and
//     the steps that a gateway must hold afterwards are known (Result.Steps).
//   - Nothing is allocated for a message over MQTT: packets are patched in place and all that the
//     window admits goes out in one write.
//   - Run ends within Config.Warmup + Config.Duration + Config.Drain after the connections stand.
//
// Caveats: a connection that is lost stays lost and is counted; a load generator that reconnects
// would hide it. Latencies are kept to within 1/32 of their value. At a fixed rate an idle
// process's timers may wake up to a millisecond late, and that millisecond counts as latency.
package bench
