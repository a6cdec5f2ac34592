package mqtt

import "ayumi/steps"

// packetType is the MQTT Control Packet type, the upper four bits of the fixed header.
type packetType byte

// The MQTT Control Packet types (MQTT 5, 2.1.2).
const (
	typeConnect     packetType = 1
	typeConnack     packetType = 2
	typePublish     packetType = 3
	typePuback      packetType = 4
	typePubrec      packetType = 5
	typePubrel      packetType = 6
	typePubcomp     packetType = 7
	typeSubscribe   packetType = 8
	typeSuback      packetType = 9
	typeUnsubscribe packetType = 10
	typeUnsuback    packetType = 11
	typePingreq     packetType = 12
	typePingresp    packetType = 13
	typeDisconnect  packetType = 14
	typeAuth        packetType = 15
)

// protocolLevel is the byte of CONNECT that names the version.
type protocolLevel byte

const (
	level311 protocolLevel = 4
	level5   protocolLevel = 5
)

// reasonCode is a Reason Code of MQTT 5 (2.4).
type reasonCode byte

// The Reason Codes that are sent.
const (
	codeSuccess               reasonCode = 0x00
	codeNoSubscription        reasonCode = 0x11
	codeUnspecified           reasonCode = 0x80
	codeMalformed             reasonCode = 0x81
	codeProtocolError         reasonCode = 0x82
	codeImplementation        reasonCode = 0x83
	codeUnsupportedVersion    reasonCode = 0x84
	codeBadCredentials        reasonCode = 0x86
	codeNotAuthorized         reasonCode = 0x87
	codeServerUnavailable     reasonCode = 0x88
	codeServerBusy            reasonCode = 0x89
	codeShuttingDown          reasonCode = 0x8B
	codeBadAuthMethod         reasonCode = 0x8C
	codeKeepAliveTimeout      reasonCode = 0x8D
	codeSessionTakenOver      reasonCode = 0x8E
	codeTopicNameInvalid      reasonCode = 0x90
	codeReceiveMaximum        reasonCode = 0x93
	codeTopicAliasInvalid     reasonCode = 0x94
	codePacketTooLarge        reasonCode = 0x95
	codeQuotaExceeded         reasonCode = 0x97
	codePayloadFormatInvalid  reasonCode = 0x99
	codeRetainNotSupported    reasonCode = 0x9A
	codeQoSNotSupported       reasonCode = 0x9B
	codeSubscriptionIDRefused reasonCode = 0xA1
)

// returnCode is a Connect Return code of MQTT 3.1.1 (3.2.2.3).
type returnCode byte

const (
	returnAccepted       returnCode = 0
	returnVersion        returnCode = 1
	returnIdentifier     returnCode = 2
	returnUnavailable    returnCode = 3
	returnBadCredentials returnCode = 4
	returnNotAuthorized  returnCode = 5
)

// subackFailure is the failure code of a 3.1.1 SUBACK (3.9.3).
const subackFailure = 0x80

// kindCodes is what a steps.Kind becomes on the wire.
type kindCodes struct {
	connack311 returnCode // when CONNECT fails on it
	connack5   reasonCode
	disconnect reasonCode // when a Submit or a commit fails on it
	cause      cause
}

// codesOf is the one table from steps.Kind to MQTT.
func codesOf(k steps.Kind) kindCodes {
	switch k {
	case steps.Unauthorized:
		return kindCodes{returnNotAuthorized, codeBadCredentials, codeNotAuthorized, causeUnauthorized}
	case steps.Overload:
		return kindCodes{returnUnavailable, codeServerBusy, codeQuotaExceeded, causeOverload}
	case steps.Unavailable:
		return kindCodes{returnUnavailable, codeServerUnavailable, codeImplementation, causeCommitFailed}
	default:
		return kindCodes{returnUnavailable, codeUnspecified, codeUnspecified, causeCommitFailed}
	}
}

// pubackCode is the one table from steps.Reason to the Reason Code of a v5 PUBACK. Reason 0 is a
// payload of which at least something was accepted.
//
// Only codes of MQTT 5, 3.4.2.1 are used, and never 0x10 (no matching subscribers): clients take
// a success that is not 0x00 for an error.
func pubackCode(r steps.Reason) reasonCode {
	switch r {
	case 0:
		return codeSuccess
	case steps.ReasonTopic, steps.ReasonUnknownDevice, steps.ReasonUnbound, steps.ReasonNotReader:
		return codeNotAuthorized
	default:
		return codePayloadFormatInvalid
	}
}

// protocolError is why a packet is refused: the code of a v5 DISCONNECT or CONNACK and English.
type protocolError struct {
	code reasonCode
	text string
}

// Error returns the English text.
func (e *protocolError) Error() string { return e.text }

func malformed(text string) error { return &protocolError{codeMalformed, text} }

func violation(text string) error { return &protocolError{codeProtocolError, text} }

// cause says why a connection ended; it is a metric label.
type cause uint8

const (
	causeClient        cause = iota // DISCONNECT
	causeLost                       // the peer closed or the network failed
	causeKeepAlive                  // no packet within one and a half keep alive times
	causeConnectFailed              // no session came about; see the connects metric
	causeProtocol                   // a malformed packet or a protocol error
	causeWindow                     // more unacknowledged publishes than Receive Maximum
	causeTakenOver
	causeSlowReader // it did not take what was written within WriteTimeout
	causeUnauthorized
	causeOverload
	causeCommitFailed
	causePanic
	causeShutdown
	causes // how many there are
)

var causeNames = [causes]string{"client", "lost", "keep_alive", "connect_failed", "protocol", "window", "taken_over",
	"slow_reader", "unauthorized", "overload", "commit_failed", "panic", "shutdown"}

// String returns the metric label.
func (c cause) String() string { return causeNames[c] }
