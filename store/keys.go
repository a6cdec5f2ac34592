package store

import (
	"bytes"
	"encoding/binary"
	"errors"

	"ayumi/steps"
)

// The first byte of every key names its table. Values are described in doc.go.
const (
	prefixDay        = 't' // day(4) participant
	prefixDirtyList  = 'u' // number(8)
	prefixSheet      = 'b' // day(4) participant
	prefixContact    = 'c' // device
	prefixQuarantine = 'q' // id
	prefixRaw        = 'w' // id 0 part(2)
	prefixTable      = 'r' // key of the registry's table
	prefixMeta       = 'm' // name
	prefixActivity   = 'h' // participant 0 day(4) kind
	prefixSendings   = 'n' // participant
	prefixFinal      = 'f' // day(4) participant
	prefixClosed     = 'z' // day(4)
	prefixLate       = 'l' // day(4) participant
	prefixBalance    = 's' // participant
	prefixEntry      = 'e' // participant 0 seq(8)
	prefixRequest    = 'k' // participant 0 request key
	prefixAccount    = 'g' // account(1)
	prefixPrize      = 'p' // id
	prefixExchange   = 'x' // number(8)
	prefixOrder      = 'o' // participant
	prefixReview     = 'v' // day(4) participant
	prefixPrints     = 'y' // participant
)

// appendDay writes a day so that keys sort by date, those before 1970 included.
func appendDay(dst []byte, d steps.Day) []byte {
	return binary.BigEndian.AppendUint32(dst, uint32(d)^1<<31)
}

func takeDay(b []byte) steps.Day { return steps.Day(binary.BigEndian.Uint32(b) ^ 1<<31) }

// ownPrefix begins the keys of what one participant has in a table.
func ownPrefix(prefix byte, p steps.ParticipantID) []byte {
	return append(append([]byte{prefix}, p...), 0)
}

// dayKey makes the key of a table that is ordered by day, then participant.
func dayKey(prefix byte, pd steps.ParticipantDay) []byte {
	return append(appendDay([]byte{prefix}, pd.Day), pd.Participant...)
}

// splitDayKey is the inverse of dayKey.
func splitDayKey(key []byte) (steps.ParticipantDay, bool) {
	if len(key) < 6 {
		return steps.ParticipantDay{}, false
	}
	return steps.ParticipantDay{Day: takeDay(key[1:]), Participant: steps.ParticipantID(key[5:])}, true
}

func activityPrefix(p steps.ParticipantID) []byte {
	return ownPrefix(prefixActivity, p)
}

func activityKey(pd steps.ParticipantDay, kind steps.ActivityKind) []byte {
	return append(appendDay(activityPrefix(pd.Participant), pd.Day), kind...)
}

func closedKey(d steps.Day) []byte { return appendDay([]byte{prefixClosed}, d) }

func balanceKey(p steps.ParticipantID) []byte { return append([]byte{prefixBalance}, p...) }

func entryKey(p steps.ParticipantID, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(ownPrefix(prefixEntry, p), seq)
}

func requestKey(p steps.ParticipantID, k steps.RequestKey) []byte {
	return append(ownPrefix(prefixRequest, p), k...)
}

// splitOwnKey is the inverse of ownPrefix: it returns the participant and what follows.
func splitOwnKey(key []byte) (p steps.ParticipantID, rest []byte, ok bool) {
	end := bytes.IndexByte(key, 0)
	if end < 2 {
		return "", nil, false
	}
	return steps.ParticipantID(key[1:end]), key[end+1:], true
}

// splitEntryKey is the inverse of entryKey.
func splitEntryKey(key []byte) (p steps.ParticipantID, seq uint64, ok bool) {
	p, rest, ok := splitOwnKey(key)
	if !ok || len(rest) != 8 {
		return p, 0, false
	}
	return p, binary.BigEndian.Uint64(rest), true
}

// errKey says that a key is not one of its table's.
var errKey = errors.New("its key cannot be read")

func accountKey(a steps.Account) []byte { return []byte{prefixAccount, byte(a)} }

func prizeKey(id steps.PrizeID) []byte { return append([]byte{prefixPrize}, id...) }

func exchangeKey(id steps.ExchangeID) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefixExchange}, uint64(id))
}

func orderKey(p steps.ParticipantID) []byte { return append([]byte{prefixOrder}, p...) }

func contactKey(d steps.DeviceID) []byte { return append([]byte{prefixContact}, d...) }

func quarantineKey(id steps.QuarantineID) []byte { return append([]byte{prefixQuarantine}, id...) }

func rawPrefix(id steps.QuarantineID) []byte { return append(append([]byte{prefixRaw}, id...), 0) }

func rawKey(id steps.QuarantineID, part int) []byte {
	return binary.BigEndian.AppendUint16(rawPrefix(id), uint16(part))
}

func tableKey(key string) []byte { return append([]byte{prefixTable}, key...) }

func metaKey(name string) []byte { return append([]byte{prefixMeta}, name...) }
