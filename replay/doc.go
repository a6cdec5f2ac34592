// Package replay turns people's minutes into devices that upload them as pedometers and apps do:
// it reads a real export, or invents walkers, plans each device's uploads with the faults of the
// field, and sends them through package uplink.
//
// Invariants:
//   - A plan is a function of the person, the options and the seed: a second run sends the same
//     uploads, byte for byte.
//   - Within a plan no two different uploads share a revision, and the true count of every minute
//     carries the highest revision that touches it. So whatever the order, repeats included, the
//     merge law ends at exactly the person's minutes.
//   - What is sent with a broken clock lies in 2000 or 2036 and is sent correctly as well, so
//     nothing is missing when it is quarantined.
//
// Caveats: a device's history is one plan. Planning other minutes for the same device, such as the
// same file moved to another day, needs a higher PlanOptions.Boot to win over what was sent before.
package replay
