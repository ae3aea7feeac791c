package readmodels

import (
	"context"
	"time"

	"prelude/domain"
	"prelude/internal/authz"
	"prelude/internal/eventlog"
)

// Projection is how a reader of the log is, in one of its versions.
type Projection struct {
	Reader   string
	Version  int
	Owner    string // the instance that feeds it; empty: none does
	Position eventlog.Position
	Error    string // why it has stopped; empty: it has not
	Gaps     int64  // how often the revisions of a stream did not follow each other
	Skipped  int64  // events of names that were not known
	Foreign  int64  // events of other applications in the same store
	Parked   []Parked
}

// State is following, waiting for an instance to feed it, or stopped.
func (p Projection) State() string {
	switch {
	case p.Error != "":
		return "stopped"
	case p.Owner == "":
		return "waiting"
	}
	return "following"
}

// Parked is a stream that a reader could not apply. Error never holds what people wrote.
type Parked struct {
	Stream   string
	Position eventlog.Position
	Error    string
	Since    time.Time
}

type projectionRow struct {
	Reader  string
	Version int
	Owner   string
	Pos     int64
	Error   string
	Gaps    int64
	Skipped int64

	ForeignEvents int64
}

type parkedRow struct {
	Reader   string
	Version  int
	Stream   string
	Pos      int64
	Error    string
	ParkedAt time.Time
}

// whyElsewhere stands for why a reader stopped: the event at which it did may be another org's.
const whyElsewhere = "it stopped; the command prelude projections says why"

// Projections answers how the readers are, with the parked streams of the caller's org alone.
func (r *Reader) Projections(ctx context.Context, who domain.Principal) ([]Projection, error) {
	if _, err := authz.May(who, authz.SeeReaders, authz.Thing{Org: who.Org}); err != nil {
		return nil, err
	}
	all, err := r.projections(ctx, func(stream string) bool {
		s, err := eventlog.ParseStream(stream)
		return err == nil && s.Org == domain.Bare(who.Org)
	})
	for i := range all {
		if all[i].Error != "" {
			all[i].Error = whyElsewhere
		}
	}
	return all, err
}

// AllProjections answers how the readers are, with all parked streams: for who looks after the installation.
func (r *Reader) AllProjections(ctx context.Context) ([]Projection, error) {
	return r.projections(ctx, func(string) bool { return true })
}

// MayUnpark says whether the caller may have a stream applied again: another org's does not exist.
func (r *Reader) MayUnpark(who domain.Principal, stream eventlog.Stream) error {
	if _, err := authz.May(who, authz.Unpark, authz.Thing{Org: who.Org}); err != nil {
		return err
	}
	if stream.Org != domain.Bare(who.Org) {
		return domain.ErrNotFound
	}
	return nil
}

func (r *Reader) projections(ctx context.Context, show func(stream string) bool) ([]Projection, error) {
	var rows []projectionRow
	var parked []parkedRow
	b := r.batch()
	b.Queue(`SELECT set_config('role', 'prelude_proj', true)`)
	b.Queue(`SELECT c.reader, c.version, coalesce(l.owner, '') AS owner, c.pos, coalesce(c.error, '') AS error, c.gaps,
			c.skipped, c.foreign_events FROM prelude.checkpoints c LEFT JOIN prelude.leases l
				ON l.reader = c.reader AND l.version = c.version AND l.expires > now()
		WHERE c.version > 0 ORDER BY c.reader, c.version`).Query(scan(&rows))
	b.Queue(`SELECT reader, version, stream, pos, error, parked_at FROM prelude.parked ORDER BY pos`).
		Query(scan(&parked))
	if err := r.Pool.SendBatch(ctx, &b.Batch).Close(); err != nil {
		return nil, wrap("ask how the readers are", err)
	}
	return projectionsOf(rows, parked, show), nil
}

func projectionsOf(rows []projectionRow, parked []parkedRow, show func(stream string) bool) []Projection {
	all := make([]Projection, len(rows))
	for i, row := range rows {
		all[i] = Projection{Reader: row.Reader, Version: row.Version, Owner: row.Owner,
			Position: eventlog.Position(row.Pos), Error: row.Error, Gaps: row.Gaps, Skipped: row.Skipped,
			Foreign: row.ForeignEvents}
		for _, p := range parked {
			if p.Reader == row.Reader && p.Version == row.Version && show(p.Stream) {
				all[i].Parked = append(all[i].Parked, Parked{Stream: p.Stream,
					Position: eventlog.Position(p.Pos), Error: p.Error, Since: p.ParkedAt})
			}
		}
	}
	return all
}
