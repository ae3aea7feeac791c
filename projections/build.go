package projections

import (
	"context"
	"errors"
	"fmt"

	"prelude/internal/eventlog"
)

// Build applies the log up to a position, which lies before its end, and stops there: nothing that is newer is
// applied. told, where there is one, is told how far it is.
func (e *Engine) Build(ctx context.Context, r Reader, to eventlog.Position, told func(eventlog.Position)) error {
	for {
		err := e.build(ctx, r, to, told)
		if !errors.Is(err, errFenced) {
			return err
		}
		// Another feeds the same tables: what it has done need not be done here.
	}
}

func (e *Engine) build(ctx context.Context, r Reader, to eventlog.Position, told func(eventlog.Position)) error {
	at, err := e.begin(ctx, r)
	if err != nil {
		return err
	}
	if e.Progress.applied(r.Name, at); at >= to {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var batch []eventlog.Record
	commit := func(until eventlog.Position) error {
		if at, err = e.commit(ctx, r, at, batch, until); err == nil && told != nil {
			told(at)
		}
		batch = nil
		return err
	}
	for signal, err := range e.Log.Store.Subscribe(ctx, at, eventlog.Filter{Prefixes: r.Prefixes}) {
		if err != nil {
			return err
		}
		if signal.Kind == eventlog.CaughtUp || signal.Kind != eventlog.Lost && signal.Position > to {
			return commit(to) // all that comes from now on is newer
		}
		if signal.Kind == eventlog.Event {
			batch = append(batch, decode(signal.Raw))
		}
		if len(batch) == batchSize {
			if err := commit(signal.Position); err != nil {
				return err
			}
		}
	}
	return fmt.Errorf("build %s: %w", r.Name, errors.Join(errors.New("the subscription ended"), context.Cause(ctx)))
}

// Aside is the reader with tables of its own beside those of its version: for a build that is thrown away. The number
// tells it from others; it stands for the version where how far readers are is kept, with a minus before it.
func (r Reader) Aside(number int) Reader {
	r.aside = fmt.Sprintf("%s%s_%d", asidePrefix, r.Name, number)
	r.Version = -number
	return r
}

// asidePrefix begins the name of every schema of a build that is thrown away.
const asidePrefix = "verify_"
