package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"prelude/internal/eventlog"
	"prelude/internal/postgres"
	"prelude/internal/search"
	"prelude/projections"
)

const (
	// doctorLag is how many events are counted that a reader has not applied.
	doctorLag = 1000
	// progressWithin is how long a reader that is behind is watched for progress. One at work commits many times in it.
	progressWithin = 2 * time.Second
	progressEvery  = 50 * time.Millisecond
)

// readers says how far each reader of this program's versions is; unseen is why they are not looked at, or empty. Those
// that are behind are watched side by side in time: all of them for as long as one.
func (p *patient) readers(ctx context.Context, conn *pgx.Conn, unseen string) []finding {
	var all []finding
	enough := time.Now().Add(progressWithin)
	for _, r := range p.versions() {
		f := finding{part: "reader " + r.Name, unseen: unseen, mend: "see prelude projections, and the log of its owner"}
		if unseen == "" {
			f.err = p.reader(ctx, conn, r, enough, &f)
		}
		if errors.Is(f.err, projections.ErrNoPosition) {
			f.mend = "run prelude migrate"
		}
		all = append(all, f)
	}
	return all
}

// versions are the readers that a server of this configuration has.
func (p *patient) versions() []projections.Reader {
	all := append(projections.Kept(), projections.OutReader(nil))
	if p.cfg.OpenSearchURL != "" {
		all = append(all, projections.NewIndexReader(nil, nil, (*search.Client)(nil))) // nothing is fed
	}
	return all
}

// reader notes how far a reader is. One that is behind is watched until it moves, or until it has had enough time for
// that.
func (p *patient) reader(ctx context.Context, conn *pgx.Conn, r projections.Reader, enough time.Time, f *finding,
) error {
	first, begun, err := p.lag(ctx, conn, r)
	if err != nil {
		return err
	}
	f.note = "it has not begun"
	if begun {
		f.note = fmt.Sprintf("at %d, behind %d events", first.at, first.events)
	}
	for now := first; now.events > 0 && now.at == first.at; {
		served, err := postgres.Serving(ctx, conn)
		switch {
		case err != nil:
			return err
		case !served && begun:
			f.idle = true
			f.note += "; no server runs, and the next one goes on there"
			return nil
		case !served:
			return nil
		case time.Now().After(enough):
			return fmt.Errorf("it stands still at %d, behind %d events", first.at, first.events)
		}
		select {
		case <-time.After(progressEvery):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if now, _, err = p.lag(ctx, conn, r); err != nil {
			return err
		}
	}
	return nil
}

// reached is how far a reader is, and how many events it is behind.
type reached struct {
	at     eventlog.Position
	events int
}

// lag asks the database and the log; false: the reader has not begun, and all that there is for it is to come.
func (p *patient) lag(ctx context.Context, conn *pgx.Conn, r projections.Reader) (reached, bool, error) {
	at, stopped, begun, err := projections.CheckpointOf(ctx, conn, r)
	switch {
	case err != nil:
		return reached{}, false, err
	case stopped != "":
		return reached{}, false, errors.New("it has stopped: " + stopped)
	}
	end, err := p.log.End(ctx)
	if err == nil && at > end {
		err = projections.ErrAhead
	}
	if err != nil {
		return reached{}, false, err
	}
	lag, err := projections.Behind(ctx, p.log, r, at, doctorLag)
	return reached{at, lag.Events}, begun, err
}
