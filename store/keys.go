package store

import (
	"encoding/binary"

	"ayumi/steps"
)

// The first byte of every key names its table. Values are described in doc.go.
const (
	prefixDay        = 't' // day(4) participant
	prefixDirty      = 'd' // day(4) participant
	prefixAward      = 'a' // day(4) participant
	prefixContact    = 'c' // device
	prefixQuarantine = 'q' // id
	prefixRaw        = 'w' // id 0 part(2)
	prefixTable      = 'r' // key of the registry's table
	prefixMeta       = 'm' // name
)

// appendDay writes a day so that keys sort by date, those before 1970 included.
func appendDay(dst []byte, d steps.Day) []byte {
	return binary.BigEndian.AppendUint32(dst, uint32(d)^1<<31)
}

func takeDay(b []byte) steps.Day { return steps.Day(binary.BigEndian.Uint32(b) ^ 1<<31) }

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

func contactKey(d steps.DeviceID) []byte { return append([]byte{prefixContact}, d...) }

func quarantineKey(id steps.QuarantineID) []byte { return append([]byte{prefixQuarantine}, id...) }

func rawPrefix(id steps.QuarantineID) []byte { return append(append([]byte{prefixRaw}, id...), 0) }

func rawKey(id steps.QuarantineID, part int) []byte {
	return binary.BigEndian.AppendUint16(rawPrefix(id), uint16(part))
}

func tableKey(key string) []byte { return append([]byte{prefixTable}, key...) }

func metaKey(name string) []byte { return append([]byte{prefixMeta}, name...) }
