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

// readers says how far each reader of this program's versions is; unseen is why they are not looked at, or empty. All
// are asked before any that is behind is watched: so each has as long to make progress.
func (p *patient) readers(ctx context.Context, conn *pgx.Conn, unseen string) []finding {
	versions := p.versions()
	all, first := make([]finding, len(versions)), make([]reached, len(versions))
	for i, r := range versions {
		all[i] = finding{part: "reader " + r.Name, unseen: unseen,
			mend: "see prelude projections, and the log of its owner"}
		if unseen == "" {
			first[i], all[i].err = p.lag(ctx, conn, r)
		}
	}
	enough := time.Now().Add(progressWithin)
	for i, r := range versions {
		if unseen == "" && all[i].err == nil {
			all[i].err = p.watch(ctx, conn, r, first[i], enough, &all[i])
		}
		if errors.Is(all[i].err, projections.ErrNoPosition) {
			all[i].mend = "run prelude migrate"
		}
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

// watch notes how far a reader was at first. One that is behind is watched until it has moved, or until it has had
// enough time for that.
func (p *patient) watch(ctx context.Context, conn *pgx.Conn, r projections.Reader, first reached, enough time.Time,
	f *finding) error {
	f.note = "it has not begun"
	if first.begun {
		f.note = fmt.Sprintf("at %d, behind %d events", first.at, first.events)
	}
	if first.events == 0 {
		return nil
	}
	served, err := postgres.Serving(ctx, conn)
	if err != nil {
		return err
	}
	if !served {
		f.idle = true
		f.note += "; no server runs, and the next one goes on there"
		return nil
	}
	for {
		late := time.Now().After(enough) // before it is asked, so that it is asked once more after that
		now, err := p.lag(ctx, conn, r)
		switch {
		case err != nil:
			return err
		case now.events == 0 || now.at != first.at:
			return nil
		case late:
			return fmt.Errorf("it stands still at %d, behind %d events", now.at, now.events)
		}
		select {
		case <-time.After(progressEvery):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// reached is how far a reader is, and how many events it is behind.
type reached struct {
	at     eventlog.Position
	events int
	begun  bool // false: all that there is for it is to come
}

// lag asks the database and the log.
func (p *patient) lag(ctx context.Context, conn *pgx.Conn, r projections.Reader) (reached, error) {
	at, stopped, begun, err := projections.CheckpointOf(ctx, conn, r)
	switch {
	case err != nil:
		return reached{}, err
	case stopped != "":
		return reached{}, errors.New("it has stopped: " + stopped)
	}
	end, err := p.log.End(ctx)
	if err == nil && at > end {
		err = projections.ErrAhead
	}
	if err != nil {
		return reached{}, err
	}
	lag, err := projections.Behind(ctx, p.log, r, at, doctorLag)
	return reached{at, lag.Events, begun}, err
}
