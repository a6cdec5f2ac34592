// Package registry knows who takes part, which devices there are, whose steps a device counts on
// which days, and which secret proves that an upload comes from a device.
//
// Invariants:
//   - Durable first: a change is in Records before it is visible in memory, and what Records
//     refused is not visible.
//   - On any day a device counts for at most one participant. The bindings of a device never
//     overlap, only the latest may be open, and a reader terminal has none.
//   - History stays: bindings end, devices are revoked, participants remain. Nothing is deleted.
//   - A secret exists in clear only in the answer that hands it out. Records and memory hold its
//     SHA-256.
//   - A device's generation rises whenever its secret is rotated or it is revoked, so that an
//     Identity obtained before is no longer Current, not even after the device is restored.
//   - No names, no addresses: personal data has no place here.
//
// Everything is held in memory, about 0.3 kB for a participant with one device, and read without
// allocating. Writers wait for each other; readers wait for nobody but a map assignment.
//
// # Records
//
// One record a participant under "p/ID" and one a device under "d/ID". Values are JSON with a
// version in "v"; unknown fields and newer versions are refused at opening, so that an older
// program cannot destroy what a newer one wrote.
//
//	p/tanaka-0042  {"v":1,"born":"1951-04-02","since":"2026-10-01"}
//	d/ped-00001    {"v":1,"kind":1,"secret_sha256":"…","generation":1,"since":"2026-10-01",
//	                "bindings":[{"participant":"tanaka-0042","from":"2026-10-01"}]}
//
// Caveats:
//   - A binding that is cancelled on its own first day stays on record as a range whose last day
//     is the day before its first; it contains no day.
//   - Binding and unbinding decide where later uploads go. Steps that are already stored stay with
//     the participant they were stored for.
package registry
