// Package steps holds the nouns that every room of Ayumi shares: who (ParticipantID, DeviceID),
// when (Day, Calendar), what arrives (Upload, Series), what is kept (Run, Cell), what is answered
// (Receipt, Reason) and how things fail (Error, Kind).
//
// Invariants:
//   - It imports the standard library only and does no I/O.
//   - Enumerations that are stored or sent are numbered explicitly and only appended to.
//   - An ID that passed its Parse function contains neither '/', '+', '#' nor control characters,
//     so it can stand in an MQTT topic, a URL path, a CSV cell and a store key as it is.
//
// Caveat: the types do not validate themselves on assignment; whoever accepts bytes from outside
// calls the Parse functions.
package steps
