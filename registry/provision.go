package registry

import (
	"context"
	"errors"
	"fmt"
	"io"

	"ayumi/steps"
)

const (
	// MaxProvisionRows is the most that one file may hold.
	MaxProvisionRows = 1_000_000
	// chunkRows is what one durable change covers at most: two records a row, some 0.3 MB.
	chunkRows = 1000
)

// ProvisionOptions narrows what Provision does.
type ProvisionOptions struct {
	DryRun bool // validate only
	// SkipExisting passes over devices that are registered with the same kind and binding, so that
	// a file whose provisioning was cut off can be given again.
	SkipExisting bool
}

// Provisioned is the outcome of one row.
type Provisioned struct {
	Participant steps.ParticipantID // "" for a reader
	Device      steps.DeviceID
	Secret      Secret // zero after a dry run and when Skipped
	Skipped     bool   // the device was there already
}

// ProvisionSummary counts what was, or after a dry run would be, added.
type ProvisionSummary struct {
	Participants int `json:"participants"`
	Devices      int `json:"devices"`
	Skipped      int `json:"skipped"`
}

// Provision registers the participants, devices and bindings of a CSV file in UTF-8 with the
// header participant,device,kind,from,born. Only device must be there. Kind is pedometer when
// empty and from is today; a reader has neither participant nor dates. Several devices may name
// one participant, and a participant may exist already, with the same date of birth.
//
// Every row is validated first. If any is bad, nothing is applied and the cause of the error is a
// *RowErrors: Invalid, or Conflict when all that is wrong is what exists already.
//
// Rows are applied in chunks. Emit is called with each chunk's outcome once it is durable, in the
// order of the file; it must not keep the slice. A failure in between leaves the earlier chunks in
// place, and the summary counts them: give the file again with SkipExisting for the rest, and
// rotate the secrets of skipped devices whose secrets were never seen.
func (r *Registry) Provision(ctx context.Context, file io.Reader, opt ProvisionOptions,
	emit func([]Provisioned) error) (ProvisionSummary, error) {
	const op = "provision"
	p := &plan{r: r, opt: opt, today: r.Today(),
		born:  map[steps.ParticipantID]bornAt{},
		lines: map[steps.DeviceID]int{},
	}
	if err := p.read(ctx, file); err != nil {
		return ProvisionSummary{}, steps.E(op, steps.KindOf(err), err)
	}
	var sum ProvisionSummary
	for rows := p.rows; len(rows) > 0; {
		n := min(chunkRows, len(rows))
		done, err := p.apply(ctx, rows[:n], &sum)
		if err != nil {
			return sum, steps.Errorf(op, steps.KindOf(err), "%d of %d rows were applied: %w", len(p.rows)-len(rows), len(p.rows), err)
		}
		if err := emit(done); err != nil {
			return sum, steps.Errorf(op, steps.KindOf(err), "hand out secrets of line %d on: %w", rows[0].line, err)
		}
		rows = rows[n:]
	}
	return sum, nil
}

// bornAt is what the file says of a participant's birth, and where.
type bornAt struct {
	day  steps.Day
	line int
}

// plan is a provisioning file on its way into the registry.
type plan struct {
	r     *Registry
	opt   ProvisionOptions
	today steps.Day

	rows   []row
	born   map[steps.ParticipantID]bornAt
	lines  map[steps.DeviceID]int
	faults RowErrors
	other  bool // a fault is more than a conflict with what exists

	added map[steps.ParticipantID]bool // a dry run's participants, counted once
}

// read parses and validates the whole file.
func (p *plan) read(ctx context.Context, file io.Reader) error {
	rr, err := newRowReader(file)
	for err == nil {
		if len(p.lines)%chunkRows == 0 && ctx.Err() != nil {
			return steps.E("read file", steps.Unavailable, ctx.Err())
		}
		var c cells
		c, err = rr.next()
		var bad RowError
		switch {
		case err == nil:
			err = p.check(&c)
		case errors.As(err, &bad):
			p.fault(bad)
			err = nil
		}
	}
	var bad RowError
	switch {
	case errors.As(err, &bad): // in the header: nothing behind it can be read
		p.fault(bad)
	case !errors.Is(err, io.EOF):
		kind := steps.KindOf(err)
		if kind == steps.Internal {
			kind = steps.Invalid // the file could not be read, which is no fault of ours
		}
		return steps.E("read file", kind, err)
	}
	switch {
	case p.faults.Count == 0:
		return nil
	case p.other:
		return steps.E("use file", steps.Invalid, &p.faults)
	}
	return steps.E("use file", steps.Conflict, &p.faults)
}

func (p *plan) fault(f RowError) {
	p.faults.add(f)
	p.other = true
}

// check validates one line by itself, against the lines before it and against the registry.
func (p *plan) check(c *cells) error {
	rw, ok := c.parse(p.today, func(column, detail string) {
		p.fault(RowError{Line: c.line, Column: column, Detail: detail})
	})
	if rw.device != "" {
		if first, twice := p.lines[rw.device]; twice {
			p.fault(RowError{rw.line, colDevice, fmt.Sprintf("%q is on line %d already; keep one", rw.device, first)})
			return nil
		}
		p.lines[rw.device] = rw.line
	}
	if !ok {
		return nil
	}
	if !p.checkBorn(&rw) {
		return nil
	}
	if f := p.r.conflict(&rw, p.opt); f != nil {
		p.faults.add(*f)
		return nil
	}
	if len(p.rows) == MaxProvisionRows {
		return steps.Errorf("read file", steps.Invalid, "it has more than %d rows; split it", MaxProvisionRows)
	}
	if p.faults.Count == 0 {
		p.rows = append(p.rows, rw)
	}
	return nil
}

// checkBorn compares a row's date of birth with the participant's earlier rows.
func (p *plan) checkBorn(rw *row) bool {
	if rw.participant == "" {
		return true
	}
	was, seen := p.born[rw.participant]
	switch {
	case !seen, was.day == unknownBorn:
		p.born[rw.participant] = bornAt{rw.born, rw.line}
	case rw.born != unknownBorn && rw.born != was.day:
		p.fault(RowError{rw.line, colBorn, fmt.Sprintf("participant %q was born %s by line %d; make them agree", rw.participant, was.day, was.line)})
		return false
	}
	return true
}

// conflict compares a row with what is registered. It is called while validating and once more by
// the writer, since others may have written in between.
func (r *Registry) conflict(rw *row, opt ProvisionOptions) *RowError {
	if p := r.participants.get(rw.participant); p != nil && rw.born != unknownBorn && rw.born != p.born {
		known := "without a date of birth"
		if p.born != unknownBorn {
			known = "as born " + p.born.String()
		}
		return &RowError{rw.line, colBorn, fmt.Sprintf("participant %q is registered %s; leave the cell empty, or update the participant first", rw.participant, known)}
	}
	d := r.devices.get(rw.device)
	switch {
	case d == nil:
		return nil
	case !opt.SkipExisting:
		return &RowError{rw.line, colDevice, fmt.Sprintf("%q is registered already; remove the line, or skip existing devices", rw.device)}
	case d.kind != rw.kind:
		return &RowError{rw.line, colKind, fmt.Sprintf("device %q is registered as %s; correct the cell, or remove the line", rw.device, d.kind)}
	}
	if rw.participant == "" {
		return nil
	}
	switch to, bound := r.Binding(rw.device, rw.from); {
	case !bound:
		return &RowError{rw.line, colParticipant, fmt.Sprintf("device %q is registered and bound to nobody on %s; bind it by itself and remove the line", rw.device, rw.from)}
	case to != rw.participant:
		return &RowError{rw.line, colParticipant, fmt.Sprintf("device %q is registered and bound to %q on %s; correct the cell, or remove the line", rw.device, to, rw.from)}
	}
	return nil
}

// apply makes one chunk durable and visible, and adds to sum what it added.
func (p *plan) apply(ctx context.Context, rows []row, sum *ProvisionSummary) ([]Provisioned, error) {
	const op = "apply rows"
	if err := p.r.begin(ctx, op); err != nil {
		return nil, err
	}
	defer p.r.end()
	s := newStaged()
	add := *sum
	done := make([]Provisioned, 0, len(rows))
	for i := range rows {
		rw := &rows[i]
		if f := p.r.conflict(rw, p.opt); f != nil {
			return nil, steps.E(op, steps.Conflict, *f)
		}
		if p.r.devices.get(rw.device) != nil {
			add.Skipped++
			done = append(done, Provisioned{Participant: rw.participant, Device: rw.device, Skipped: true})
			continue
		}
		secret, err := p.stage(s, rw, &add)
		if err != nil {
			return nil, steps.E(op, steps.Internal, err)
		}
		done = append(done, Provisioned{Participant: rw.participant, Device: rw.device, Secret: secret})
	}
	if !p.opt.DryRun && len(s.changes) > 0 {
		if err := p.r.commit(ctx, s); err != nil {
			return nil, err
		}
	}
	*sum = add
	return done, nil
}

// stage adds one row's records to s.
func (p *plan) stage(s *staged, rw *row, add *ProvisionSummary) (Secret, error) {
	who, err := p.stageParticipant(s, rw, add)
	if err != nil {
		return Secret{}, err
	}
	add.Devices++
	if p.opt.DryRun {
		return Secret{}, nil
	}
	secret, hash, err := p.r.newSecret()
	if err != nil {
		return Secret{}, err
	}
	d := &device{hash: hash, generation: 1, since: p.today, kind: rw.kind}
	if who != "" {
		d.bindings = []binding{{participant: who, days: steps.DayRange{From: rw.from}}}
	}
	if err := s.device(rw.device, d); err != nil {
		return Secret{}, err
	}
	if who != "" {
		p.r.stageOwner(s, who, rw.device)
	}
	return secret, nil
}

// stageParticipant adds the row's participant to s unless there is one already, and returns the ID
// in the copy that is shared.
func (p *plan) stageParticipant(s *staged, rw *row, add *ProvisionSummary) (steps.ParticipantID, error) {
	if rw.participant == "" {
		return "", nil
	}
	if known, id := p.r.participants.find(rw.participant); known != nil {
		return id, nil
	}
	if s.participants[rw.participant] != nil {
		return rw.participant, nil
	}
	if p.opt.DryRun {
		if p.added == nil {
			p.added = map[steps.ParticipantID]bool{}
		}
		if !p.added[rw.participant] {
			p.added[rw.participant] = true
			add.Participants++
		}
		return rw.participant, nil
	}
	add.Participants++
	return rw.participant, s.participant(rw.participant, &participant{born: p.born[rw.participant].day, since: p.today})
}
