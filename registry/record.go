package registry

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"ayumi/steps"
)

const (
	deviceKeys      = "d"
	participantKeys = "p"
	recordVersion   = 1
)

func deviceKey(id steps.DeviceID) string           { return deviceKeys + "/" + string(id) }
func participantKey(id steps.ParticipantID) string { return participantKeys + "/" + string(id) }

// splitKey returns a key's ID and table; the table is "" when the key is none of ours.
func splitKey(key string) (id, table string) {
	table, id, _ = strings.Cut(key, "/")
	if _, err := steps.ParseDeviceID(id); err != nil { // both kinds of ID share one alphabet
		return id, ""
	}
	return id, table
}

type deviceRecord struct {
	Version    int             `json:"v"`
	Kind       uint8           `json:"kind"`
	Secret     []byte          `json:"secret_sha256"`
	Generation uint64          `json:"generation"`
	Since      steps.Day       `json:"since"`
	Revoked    bool            `json:"revoked,omitempty"`
	Bindings   []bindingRecord `json:"bindings,omitempty"`
}

type bindingRecord struct {
	Participant steps.ParticipantID `json:"participant"`
	From        steps.Day           `json:"from"`
	Until       *steps.Day          `json:"until,omitempty"`
}

type participantRecord struct {
	Version int              `json:"v"`
	Born    *steps.Day       `json:"born,omitempty"`
	Since   steps.Day        `json:"since"`
	Traits  *traitsRecord    `json:"traits,omitempty"`
	Sources []steps.DeviceID `json:"sources,omitempty"`
	Chosen  steps.DeviceID   `json:"chosen,omitempty"`
}

func encodeDevice(d *device) ([]byte, error) {
	rec := deviceRecord{Version: recordVersion, Kind: uint8(d.kind), Secret: d.hash[:],
		Generation: d.generation, Since: d.since, Revoked: d.revoked}
	for i := range d.bindings {
		b := &d.bindings[i]
		br := bindingRecord{Participant: b.participant, From: b.days.From}
		if b.days.Until != 0 {
			br.Until = &b.days.Until
		}
		rec.Bindings = append(rec.Bindings, br)
	}
	return json.Marshal(&rec)
}

func decodeDevice(value []byte) (*device, error) {
	var rec deviceRecord
	if err := decodeRecord(value, &rec, &rec.Version); err != nil {
		return nil, err
	}
	d := &device{generation: rec.Generation, since: rec.Since, kind: Kind(rec.Kind), revoked: rec.Revoked}
	switch {
	case d.kind < Pedometer || d.kind > Reader:
		return nil, fmt.Errorf("device kind %d is unknown", rec.Kind)
	case len(rec.Secret) != sha256.Size:
		return nil, fmt.Errorf("secret_sha256 has %d bytes, not %d", len(rec.Secret), sha256.Size)
	case d.kind == Reader && len(rec.Bindings) > 0:
		return nil, errors.New("a reader has bindings")
	}
	copy(d.hash[:], rec.Secret)
	if len(rec.Bindings) > 0 {
		d.bindings = make([]binding, len(rec.Bindings))
	}
	for i, b := range rec.Bindings {
		if b.Participant == "" {
			return nil, fmt.Errorf("binding %d names no participant", i)
		}
		if err := checkDay(b.From); err != nil {
			return nil, fmt.Errorf("binding %d: %w", i, err)
		}
		days := steps.DayRange{From: b.From}
		if b.Until != nil {
			days.Until = *b.Until
			if days.Until < days.From-1 {
				return nil, fmt.Errorf("binding %d ends before it starts: %s", i, days)
			}
		}
		d.bindings[i] = binding{participant: b.Participant, days: days}
	}
	return d, checkDisjoint(d.bindings)
}

// checkDisjoint verifies the binding law on what was read.
func checkDisjoint(bs []binding) error {
	var last *binding
	for i := range bs {
		b := &bs[i]
		if cancelled(b.days) {
			continue
		}
		if last != nil && (last.days.Until == 0 || b.days.From <= last.days.Until) {
			return fmt.Errorf("bindings %s and %s overlap or are out of order", last.days, b.days)
		}
		last = b
	}
	return nil
}

func encodeParticipant(p *participant) ([]byte, error) {
	rec := participantRecord{
		Version: recordVersion, Since: p.since, Traits: recordTraits(p.traits), Sources: p.sources, Chosen: p.chosen,
	}
	if p.born != unknownBorn {
		rec.Born = &p.born
	}
	return json.Marshal(&rec)
}

func decodeParticipant(value []byte) (*participant, error) {
	var rec participantRecord
	if err := decodeRecord(value, &rec, &rec.Version); err != nil {
		return nil, err
	}
	p := &participant{born: unknownBorn, since: rec.Since, sources: rec.Sources, chosen: rec.Chosen}
	if rec.Born != nil {
		p.born = *rec.Born
	}
	var err error
	p.traits, err = rec.Traits.traits()
	return p, err
}

// decodeRecord reads one record strictly. A newer record is told apart from a broken one.
func decodeRecord(value []byte, rec any, version *int) error {
	dec := json.NewDecoder(bytes.NewReader(value))
	dec.DisallowUnknownFields()
	err := dec.Decode(rec)
	if err == nil && *version == recordVersion {
		if _, err := dec.Token(); !errors.Is(err, io.EOF) {
			return errors.New("has something behind its end")
		}
		return nil
	}
	var head struct {
		Version int `json:"v"`
	}
	if json.Unmarshal(value, &head) == nil && head.Version != recordVersion {
		return fmt.Errorf("has version %d and this program reads version %d; open it with the ayumi that wrote it",
			head.Version, recordVersion)
	}
	return err
}
