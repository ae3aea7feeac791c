package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"prelude/internal/esnode"
	"prelude/internal/eventlog"
)

type logCmd struct {
	Backup  logBackupCmd  `cmd:"" help:"Copy the log into a file, also while a server runs."`
	Restore logRestoreCmd `cmd:"" help:"Put a backup into a data folder that has no log."`
	Verify  logVerifyCmd  `cmd:"" help:"Check every page, checksum, revision and event; changes nothing."`
	Copy    logCopyCmd    `cmd:"" help:"Copy all events from one event store to another; again: go on."`
	Compact logCompactCmd `cmd:"" help:"Remove for good what streams' limits and deletions hide; the server must be stopped."`
	Tail    logTailCmd    `cmd:"" help:"Print the events as they come, without their texts."`
}

var errElsewhere = errors.New("the log is that of PRELUDE_EVENTSTORE: use that store's own tools; this command is " +
	"for the log in the data folder")

// own checks the configuration of a command on the log in the data folder.
func (c *Config) own() error {
	if err := c.check(); err != nil {
		return err
	}
	if c.EventStore != "" {
		return errElsewhere
	}
	return nil
}

// interrupted says that somebody ended a command; what is said of its context would tell them nothing.
func interrupted(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return errors.New("interrupted; what was begun was taken back")
	}
	return err
}

type logBackupCmd struct {
	File string `arg:"" help:"The file to make." type:"path"`
}

// Run backs the log up.
func (c logBackupCmd) Run(ctx context.Context, cfg *Config, s streams) error {
	if err := cfg.own(); err != nil {
		return err
	}
	m := newGauge(s, "backup")
	counts, err := esnode.Backup(ctx, cfg.path("log"), c.File, m.tell)
	if err != nil {
		return interrupted(ctx, err)
	}
	_, err = fmt.Fprintf(s.out, "%s: %s; each record was checked\n", c.File, counted(counts))
	return err
}

func counted(c esnode.Counts) string {
	return fmt.Sprintf("%d events, %d streams, %d bytes of records", c.Events, c.Streams, c.Bytes)
}

type logRestoreCmd struct {
	File string `arg:"" help:"The backup." type:"path"`
}

// Run restores a backup. The log gets an identity of its own: what was noted of the log that the backup was made
// of may be ahead of it.
func (c logRestoreCmd) Run(ctx context.Context, cfg *Config, s streams) error {
	err := cfg.own()
	if err == nil {
		err = cfg.folder()
	}
	if err != nil {
		return err
	}
	m, id := newGauge(s, "restore"), ""
	counts, err := esnode.Restore(ctx, c.File, cfg.path("log"), func(dir string) (err error) {
		id, err = identifyFolder(ctx, dir)
		return err
	}, m.tell)
	if errors.Is(err, esnode.ErrLocked) {
		err = errAlone
	}
	if err != nil {
		return interrupted(ctx, err)
	}
	_, err = fmt.Fprintf(s.out, "restored %s\nthe log's new id is %s; a database that was built from another log: "+
		"prelude rebuild --yes\n", counted(counts), id)
	return err
}

type logVerifyCmd struct{}

var errProblems = errors.New("the log has problems: see above; restore a backup, or what is not damaged of it")

// Run verifies the log.
func (logVerifyCmd) Run(ctx context.Context, cfg *Config, s streams) error {
	if err := cfg.own(); err != nil {
		return err
	}
	found := 0
	var foreign others
	m := newGauge(s, "verify")
	counts, err := esnode.Verify(ctx, cfg.path("log"), foreign.decodes, m.tell, func(p esnode.Problem) {
		if found++; found <= mostProblems {
			fmt.Fprintln(s.out, "problem: "+p.String())
		}
	})
	if err != nil {
		return interrupted(ctx, err)
	}
	fmt.Fprintf(s.out, "%s, %d problems\n", counted(counts), found)
	foreign.tell(s.out, "whole, and not looked into")
	if found > 0 {
		return errProblems
	}
	return nil
}

// mostProblems is how many problems are printed; all are counted.
const mostProblems = 1000

// decodes says what is wrong with an event. The store's own are not ours to judge, nor are other applications'.
func (o *others) decodes(raw eventlog.Raw) error {
	if strings.HasPrefix(raw.Stream, "$") || strings.HasPrefix(raw.Type, "$") {
		return nil
	}
	rec, err := eventlog.Decode(raw)
	if errors.Is(err, eventlog.ErrForeign) {
		o.pass(raw.Stream)
		return nil
	}
	if err == nil && rec.Event == nil {
		err = fmt.Errorf("%w: %s", eventlog.ErrUnknownEvent, raw.Type)
	}
	return err
}

type logCompactCmd struct{}

// Run compacts the log.
func (logCompactCmd) Run(ctx context.Context, cfg *Config, s streams) error {
	if err := cfg.own(); err != nil {
		return err
	}
	m := newGauge(s, "compact")
	done, err := esnode.Compact(ctx, cfg.path("log"), m.tell)
	if errors.Is(err, esnode.ErrLocked) {
		err = errors.New("a prelude serves this data folder: stop it first")
	}
	if err != nil {
		return interrupted(ctx, err)
	}
	_, err = fmt.Fprintf(s.out, "%d bytes before, %d after; %d events removed, %d left\n", done.Before, done.After,
		done.Removed, done.Events)
	return err
}

type logTailCmd struct {
	JSON bool   `env:"PRELUDE_TAIL_JSON" help:"One JSON object a line." name:"json"`
	From string `env:"PRELUDE_TAIL_FROM" default:"end" placeholder:"POSITION|start|end" help:"After which event to begin."`
}

// Run prints events until it is told to stop.
func (c logTailCmd) Run(ctx context.Context, cfg *Config, s streams) error {
	if err := cfg.check(); err != nil {
		return err
	}
	from, err := c.from()
	if err != nil {
		return err
	}
	p, err := openLog(ctx, cfg, cfg.logger(s.err), false)
	if err == nil {
		err = c.within(ctx, p.log, from)
	}
	if err == nil {
		err = c.follow(ctx, p.log.Store, from, s.out)
	}
	return errors.Join(err, p.Close())
}

// within refuses a position that the log has not reached: a position of another log.
func (logTailCmd) within(ctx context.Context, log *eventlog.Log, from eventlog.Position) error {
	end, err := log.End(ctx)
	if err == nil && from != eventlog.End && from > end {
		err = errors.New("PRELUDE_TAIL_FROM lies beyond the log's end")
	}
	return err
}

func (c logTailCmd) from() (eventlog.Position, error) {
	switch c.From {
	case "start":
		return 0, nil
	case "end":
		return eventlog.End, nil
	}
	n, err := strconv.ParseInt(c.From, 10, 64)
	if err != nil || n < 0 {
		return 0, errors.New("PRELUDE_TAIL_FROM must be start, end or a position")
	}
	return eventlog.Position(n), nil
}

func (c logTailCmd) follow(ctx context.Context, store eventlog.Store, from eventlog.Position, out io.Writer) error {
	for signal, err := range store.Subscribe(ctx, from, eventlog.Filter{}) {
		if ctx.Err() != nil {
			return nil // the end was asked for
		}
		if err != nil {
			return err
		}
		if signal.Kind != eventlog.Event {
			continue
		}
		if err := c.print(out, signal.Raw); err != nil {
			return err
		}
	}
	return nil
}

// print shows where an event is and what it is, and not what it says: texts may be in it.
func (c logTailCmd) print(out io.Writer, raw eventlog.Raw) error {
	created := raw.Created.UTC().Format(time.RFC3339Nano)
	if !c.JSON {
		_, err := fmt.Fprintf(out, "%-10d %s  %-26s %s %d\n", raw.Position, created, printable(raw.Type),
			printable(raw.Stream), raw.Revision)
		return err
	}
	line, err := json.Marshal(map[string]any{"position": raw.Position, "stream": raw.Stream,
		"revision": raw.Revision, "type": raw.Type, "id": raw.ID, "created": created,
		"metadata": metadataKeys(raw.Meta)})
	if err == nil {
		_, err = fmt.Fprintln(out, string(line))
	}
	return err
}

// metadataKeys are the names of what is noted beside an event, in order; none where that is no object.
func metadataKeys(meta []byte) []string {
	var all map[string]json.RawMessage
	keys := []string{}
	if json.Unmarshal(meta, &all) != nil {
		return keys
	}
	for k := range all {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
