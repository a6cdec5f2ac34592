// Package native is the gateway's own wire format, ayumi.v1: protobuf as ayumi.proto says, and the
// same as JSON. docs/wire.md is the contract for those who build devices.
//
// Its job is bytes → steps.Upload and steps.Receipt → bytes, without I/O and without a clock. What
// a sample's time or a count is worth is judged elsewhere; this package judges only whether the
// bytes mean exactly one upload.
//
// Invariants:
//   - A decoder never panics and never allocates by a length that the payload merely claims.
//   - What is accepted re-encodes, in both encodings, to bytes that decode to an equal upload. In
//     particular the two encodings accept the same range of times.
//   - Whatever is accepted as protobuf is accepted, with the same meaning, by any other protobuf
//     implementation. The converse does not hold: unknown fields, repeated singular fields and
//     values that would be truncated are refused, since a device that sends them is broken in a way
//     that its maker wants to hear of.
//   - A decoded upload shares no memory with the payload.
//
// Caveats:
//   - Absent and 0 are one, in both encodings: a battery of 0 % cannot be told from none.
//   - A Decoder and the upload it decodes into keep the memory of the largest payload they met.
//   - JSON is checked by encoding/json before it is read, so it is read twice.
package native
