package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"prelude/domain"
	"prelude/internal/eventlog"
	"prelude/projections"
	"prelude/readmodels"
)

type projectionsCmd struct {
	List   projectionsListCmd   `cmd:"" default:"withargs" help:"Say how each reader of the log is."`
	Unpark projectionsUnparkCmd `cmd:"" help:"Apply streams again that could not be applied."`
}

type projectionsListCmd struct {
	JSON bool `env:"PRELUDE_PROJECTIONS_JSON" help:"One JSON object a line." name:"json"`
}

// Run says how the readers are, from the database and the log, whether a server runs or not.
func (c projectionsListCmd) Run(ctx context.Context, cfg *Config, s streams) error {
	return withReaders(ctx, cfg, s, func(ctx context.Context, p *parts, l looked) error {
		read := p.reader()
		all, err := read.AllProjections(ctx)
		if err != nil {
			return err
		}
		for _, proj := range all {
			events, since, ours, err := l.Lag(ctx, proj)
			if err != nil {
				return err
			}
			if err := c.print(s.out, proj, events, since, ours); err != nil {
				return err
			}
		}
		return nil
	})
}

// shown is a reader as it is printed.
type shown struct {
	Reader       string        `json:"reader"`
	Version      int           `json:"version"`
	Owner        string        `json:"owner"`
	Position     uint64        `json:"position"`
	LagPositions *int          `json:"lag_positions"`
	LagSeconds   *float64      `json:"lag_seconds"`
	State        string        `json:"state"`
	Error        string        `json:"error,omitempty"`
	Gaps         int64         `json:"gaps"`
	Skipped      int64         `json:"skipped"`
	Foreign      int64         `json:"foreign"`
	Parked       []shownParked `json:"parked"`
}

type shownParked struct {
	Stream   string    `json:"stream"`
	Position uint64    `json:"position"`
	Error    string    `json:"error"`
	Since    time.Time `json:"since"`
}

func (c projectionsListCmd) print(out io.Writer, p readmodels.Projection, events int, since time.Time, ours bool,
) error {
	row := shown{Reader: p.Reader, Version: p.Version, Owner: p.Owner, Position: uint64(p.Position), State: p.State(),
		Error: p.Error, Gaps: p.Gaps, Skipped: p.Skipped, Foreign: p.Foreign, Parked: []shownParked{}}
	if ours {
		seconds := 0.0
		if events > 0 {
			seconds = max(0, time.Since(since).Seconds())
		}
		row.LagPositions, row.LagSeconds = &events, &seconds
	}
	for _, s := range p.Parked {
		row.Parked = append(row.Parked, shownParked{s.Stream, uint64(s.Position), s.Error, s.Since})
	}
	if !c.JSON {
		return row.write(out)
	}
	line, err := json.Marshal(row)
	if err == nil {
		_, err = fmt.Fprintln(out, string(line))
	}
	return err
}

// write prints a reader for people.
func (r shown) write(out io.Writer) error {
	lag := "of another program's version"
	if r.LagPositions != nil {
		lag = fmt.Sprintf("behind %d events, %.1f s", *r.LagPositions, *r.LagSeconds)
	}
	state := r.State
	if r.Error != "" {
		state += ": " + r.Error
	}
	owner := r.Owner
	if owner == "" {
		owner = "nobody"
	}
	_, err := fmt.Fprintf(out, "%-7s version %d  at %d, %s  %s  fed by %s  gaps %d  skipped %d  foreign %d  parked %d\n",
		r.Reader, r.Version, r.Position, lag, state, owner, r.Gaps, r.Skipped, r.Foreign, len(r.Parked))
	for _, p := range r.Parked {
		if err == nil {
			_, err = fmt.Fprintf(out, "        %s  at %d since %s: %s\n", p.Stream, p.Position,
				p.Since.UTC().Format(time.RFC3339), p.Error)
		}
	}
	return err
}

type projectionsUnparkCmd struct {
	Reader string `arg:"" help:"rights, views, index or out."`
	Stream string `arg:"" optional:"" help:"The stream, as prelude projections names it."`
	All    bool   `env:"PRELUDE_UNPARK_ALL" help:"All streams that the reader has parked."`
}

var (
	errNoReader   = &domain.Error{Kind: domain.NotFound, Code: "not_found", Detail: "There is no such reader."}
	errUnparkWhat = errors.New("name a stream, or say --all, and not both")
	errUnparkOut  = errors.New("what is sent out is sent by a server: ask a running one, POST /v1/projections/out/unpark")
)

// Run has parked streams applied again, while a server runs or not. All are tried; what still cannot be applied is
// told.
func (c projectionsUnparkCmd) Run(ctx context.Context, cfg *Config, s streams) error {
	switch {
	case (c.Stream == "") != c.All:
		return errUnparkWhat
	case c.Reader == projections.Out:
		return errUnparkOut
	}
	return withReaders(ctx, cfg, s, func(ctx context.Context, p *parts, l looked) error {
		names := []string{c.Stream}
		if c.All {
			var err error
			if names, err = p.parked(ctx, l, c.Reader); err != nil {
				return err
			}
		}
		var all error
		for _, name := range names {
			all = errors.Join(all, c.unpark(ctx, l, name, s.out))
		}
		return all
	})
}

func (c projectionsUnparkCmd) unpark(ctx context.Context, l looked, name string, out io.Writer) error {
	stream, err := eventlog.ParseStream(name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	applied, err := l.Unpark(ctx, c.Reader, stream)
	if err != nil {
		return fmt.Errorf("%s: %w", name, readable(err))
	}
	said := "is applied"
	if !applied {
		said = "was not parked"
	}
	_, err = fmt.Fprintf(out, "%s %s\n", name, said)
	return err
}

// parked lists the streams that a reader has parked in this program's version.
func (p *parts) parked(ctx context.Context, l looked, reader string) ([]string, error) {
	r, ours := l.reader(reader)
	if !ours {
		return nil, readable(errNoReader)
	}
	all, err := p.reader().AllProjections(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, proj := range all {
		if proj.Reader == r.Name && proj.Version == r.Version {
			for _, s := range proj.Parked {
				names = append(names, s.Stream)
			}
		}
	}
	return names, nil
}

// reader answers questions from the tables of this program's versions.
func (p *parts) reader() *readmodels.Reader {
	return readmodels.New(p.pool, p.log, projections.RightsReader().Schema(), projections.ViewsReader().Schema())
}

// withReaders does something with the readers and their state, beside a server or without one.
func withReaders(ctx context.Context, cfg *Config, s streams,
	do func(context.Context, *parts, looked) error) error {
	if err := cfg.check(); err != nil {
		return err
	}
	logger := cfg.logger(s.err)
	p, err := openAll(ctx, cfg, logger, false)
	if err != nil {
		return errors.Join(err, p.Close())
	}
	progress := projections.NewProgress()
	l := looked{progress: progress, readers: append(projections.Kept(), projections.OutReader(nil)),
		engine: &projections.Engine{Log: p.log, Pool: p.pool, Progress: progress, Logger: logger}}
	if cfg.OpenSearchURL != "" {
		if l.index, err = openIndex(p); err != nil {
			return errors.Join(err, p.Close())
		}
		p.onClose(l.index.Close)
		l.readers = append(l.readers, projections.NewIndexReader(p.pool, progress, l.index))
	}
	progress.Watch(l.readers)
	ctx, cancel := context.WithCancel(ctx)
	peers := make(chan error, 1)
	go func() {
		peers <- (&projections.Peers{Pool: p.pool, Progress: progress, Logger: logger}).Run(ctx)
	}()
	err = do(ctx, p, l)
	cancel()
	return errors.Join(err, ended(ctx, <-peers), p.Close())
}
