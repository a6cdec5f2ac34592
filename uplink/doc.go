// Package uplink is the device's side of the wire: an MQTT 3.1.1 and 5 publisher, an HTTPS poster,
// and Deliver, which sends an ordered list of payloads over reconnects as a pedometer's firmware
// does. The simulators and the load generator stand on it.
//
// Invariants:
//   - A payload is reported as acknowledged only when its own PUBACK, or its own 2xx answer with a
//     whole receipt, was read. What was merely written is not.
//   - Every payload that Publish took is reported exactly once. Every payload given to Deliver is
//     reported exactly once, however often it was sent.
//   - Everything is sent at least once, never at most once: after a lost connection the payload
//     goes out again under a new packet identifier. The gateway's merge law makes that harmless.
//   - Nothing waits without a bound: dialling, the CONNACK, silence while something is
//     unacknowledged, and the whole of a Deliver without progress each have a limit.
//
// Caveats: the publisher sends QoS 1 only, subscribes to nothing and keeps no session, so a server
// that sends it anything but acknowledgements is treated as broken. MQTT 3.1.1 has no negative
// PUBACK: a quarantined upload looks like a stored one.
package uplink
