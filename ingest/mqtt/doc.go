// Package mqtt is an ingest-only MQTT 3.1.1 and 5 listener: devices publish uploads with QoS 0 or
// 1, each goes to a Gateway, and a PUBACK is sent when the Gateway says that it is durable.
//
// Invariants:
//   - A PUBACK is written only after Completion.Complete with a nil error (the ack law). After the
//     first failure on a connection no later PUBACK is written on it.
//   - PUBACKs follow the order of the PUBLISH packets of their connection (MQTT-4.6.0-2), refused
//     payloads included.
//   - A PUBACK belongs to the connection its PUBLISH came on, never to the client identifier.
//   - Memory is bounded before anything is known about a peer: the connection cap is checked
//     before a byte is read, a packet's length before it is buffered, and buffers grow with the
//     bytes that arrived, not with the length that was claimed.
//   - No lock is held across a socket write or a Submit. The store's committer never waits for a
//     socket, and a slow reader delays nobody but itself.
//   - A device that has used up its allowance is not read from for a while; no other device waits
//     for it, and connecting again brings it nothing.
//   - What has to wait, or takes long, is not done on the goroutine of an event loop: conn.leave comes
//     first. If something hangs without it, the watch frees the loop after one to two seconds.
//   - A panic while serving a connection closes that connection only.
//
// Caveats:
//   - There is no session state: Clean Session 0 is accepted and answered with Session Present 0,
//     subscriptions end with the connection, and nothing is kept for a client that is away.
//   - Wills are checked for form and ignored, whatever their QoS and RETAIN, although
//     MQTT-3.2.2-12 and MQTT-3.2.2-13 ask a server to refuse what it would not publish: nothing
//     is published here, and a device with a will must be able to deliver its steps.
//   - It is no broker: only a device's own receipt topic can be subscribed to. QoS 2, retained
//     messages, topic aliases, enhanced authentication and shared subscriptions are refused.
//   - A client whose Maximum Packet Size is below 64 bytes is refused, since the CONNACK that would
//     say so has no room.
//
// Files: codes.go has the codes of the wire and the one table from steps.Kind and steps.Reason to
// them; cursor.go, properties.go, connect.go and packets.go are the parser, pure functions over
// bytes; encode.go is its counterpart. server.go accepts, conn.go is the life of a connection,
// inbox.go its input, outbox.go its output, publish.go the way of a payload, throttle.go the device's
// allowance, subscribe.go the receipts. loop.go says which connections share a goroutine
// (docs/adr/0012), loop_linux.go reads for them and flusher_linux.go writes.
package mqtt
