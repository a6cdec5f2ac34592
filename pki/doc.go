// Package pki gives the listeners their TLS certificate: the operator's own, or one from a private
// certificate authority that is made in a directory on first start.
//
// The directory (mode 0700) holds ca.pem, ca.key, server.pem and server.key, in PEM; the keys are
// ECDSA P-256 in PKCS #8 with mode 0600. Devices and curl trust ca.pem. The CA is valid for 10 years
// and signs no other CA (pathlen 0); the server certificate is valid for 397 days, which every
// common client accepts.
//
// Invariants:
//   - Nothing that exists is overwritten except server.pem, and that only by a certificate of the
//     same CA for the same key.
//   - A file appears whole or not at all: written beside, fsynced, renamed, directory fsynced.
//   - Files are written in the order ca.key, ca.pem, server.key, server.pem. A power loss during the
//     first start therefore leaves a beginning of that list, and the next start finishes it. Any
//     other incomplete set is refused, for it means that a file was lost.
//   - A key that group or others may read is refused.
//
// Caveats:
//   - Renewal keeps server.key. To have a new key, remove server.key and server.pem.
//   - Two processes must not load the same directory for the first time at once.
//   - A CA that expired is not replaced: every device would have to learn the new one, which is for
//     the operator to plan.
package pki
