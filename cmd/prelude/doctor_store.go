package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"prelude/internal/eventlog"
	"prelude/internal/eventstore"
)

// doctorPatience is how long the doctor waits for a store that may be about to come. What cannot come by itself is told
// at once.
const doctorPatience = 3 * time.Second

// lookAtStore looks at the event store, and at what Prelude may do there. What it finds open, later looks use.
func (p *patient) lookAtStore(ctx context.Context) []finding {
	if p.cfg.EventStore != "" {
		f := finding{part: "event store (PRELUDE_EVENTSTORE)", mend: "start the store that PRELUDE_EVENTSTORE names"}
		return p.examine(ctx, f, p.cfg.store(p.logger))
	}
	f := finding{part: "event store (embedded)",
		mend: "stop the program that has " + p.cfg.path("log") + " open, or use another PRELUDE_DATA"}
	locked, err := locked(p.cfg.path("log/lock"))
	p.unread = "nobody serves it"
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.note = "its log " + atFirst
	case err != nil:
		f.err = err
	case locked:
		f.note = "a running prelude has it, and answers"
		return p.examine(ctx, f, eventstore.Config{Socket: p.cfg.socketPath(), Logger: p.logger})
	default:
		f.note = "no prelude runs on it; the next start opens its log"
	}
	return []finding{f}
}

// examine opens a store and tries what Prelude has to be able to do there.
func (p *patient) examine(ctx context.Context, f finding, cfg eventstore.Config) []finding {
	p.unread = "the event store does not answer"
	rights := finding{part: "event store's rights", unseen: p.unread}
	var err error
	if p.store, err = eventstore.Open(cfg); err != nil {
		f.err, f.mend = err, mendOf(err, f.mend)
		return []finding{f, rights}
	}
	ctx, cancel := context.WithTimeout(ctx, doctorPatience)
	defer cancel()
	e, err := p.store.Examine(ctx)
	if err != nil {
		f.err, f.mend = storeSays(err), mendOf(err, f.mend)
		return []finding{f, rights}
	}
	if p.cfg.EventStore != "" {
		f.note = describe(e)
	}
	if why := refusedAll(e.Rights); why != nil { // whoever asks, not what is asked for
		p.unread = "the event store refuses who asks"
		f.err, f.mend, rights.unseen = storeSays(why), mendOf(why, f.mend), p.unread
		return []finding{f, rights}
	}
	if e.Fault != nil {
		f.err, f.mend = storeSays(e.Fault), mendOf(e.Fault, "look after the event store")
	}
	p.judgeRights(e, &rights)
	return []finding{f, rights}
}

// judgeRights names the rights that are missing, and says whether the log can be read. What the store did not answer is
// its own fault and says nothing of rights: it is told of the store.
func (p *patient) judgeRights(e eventstore.Examination, rights *finding) {
	readable, refused := true, false
	var may []string
	for _, r := range e.Rights {
		if r.May() {
			may = append(may, r.What)
			continue
		}
		reads := strings.HasPrefix(r.What, "read")
		readable = readable && !reads
		if r.Err != nil {
			refused = refused || reads
			rights.err = errors.Join(rights.err, fmt.Errorf("it may not %s: %w", r.What, storeSays(r.Err)))
			rights.mend = mendOf(r.Err, "give the store's user its rights: docs/operations.md lists the least it needs")
		}
	}
	rights.note = "it may " + strings.Join(may, ", ")
	if e.Fault == nil || rights.err != nil {
		rights.unseen = ""
	}
	switch {
	case readable:
		p.log, p.unread = &eventlog.Log{Store: p.store}, ""
	case refused:
		p.unread = "the event store does not let it be read"
	}
}

// refusedAll is why every call was refused, where it is one reason; nil: some were not, or for other reasons.
func refusedAll(rights []eventstore.Right) error {
	for _, r := range rights {
		if r.Err == nil || storeSays(r.Err).Error() != storeSays(rights[0].Err).Error() {
			return nil
		}
	}
	return rights[0].Err
}

// describe says which store it is, and who leads it.
func describe(e eventstore.Examination) string {
	product := "EventStoreDB" // what KurrentDB was called until 24.10
	if major, _, _ := strings.Cut(e.Version, "."); len(major) == 2 && major >= "25" {
		product = "KurrentDB"
	}
	text := fmt.Sprintf("%s, %s %s, %s", e.Address, product, cmp.Or(e.Version, "of an unknown version"), e.Role)
	for _, m := range e.Members {
		switch {
		case len(e.Members) == 1 || m.Address == e.Address:
		case !m.Alive:
			text += fmt.Sprintf("; %s is away", m.Address)
		default:
			text += fmt.Sprintf("; %s %s", m.Address, m.Role)
		}
	}
	return text
}

// storeSays is a fault of the store in words for people.
func storeSays(err error) error {
	if r := eventstore.ReasonOf(err); r != nil {
		return r
	}
	return err
}

func mendOf(err error, otherwise string) string {
	if r := eventstore.ReasonOf(err); r != nil {
		return r.Remedy
	}
	return otherwise
}
