package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"prelude/commands"
	"prelude/domain"
	"prelude/internal/eventlog"
)

type migrateCmd struct{}

// Run migrates the database and makes the tables that are built from the log, without serving.
func (migrateCmd) Run(ctx context.Context, cfg *Config, s streams) error {
	if err := cfg.check(); err != nil {
		return err
	}
	if err := cfg.folder(); err != nil {
		return err
	}
	p := &parts{cfg: cfg, logger: cfg.logger(s.err)}
	err := p.openDatabase(ctx)
	if err == nil {
		_, err = fmt.Fprintln(s.out, "the database is migrated")
	}
	return errors.Join(err, p.Close())
}

type orgCmd struct {
	Create orgCreateCmd `cmd:"" help:"Make an org and print a key of its owner."`
	Key    orgKeyCmd    `cmd:"" help:"Issue one more key of an org's first owner."`
	Policy orgPolicyCmd `cmd:"" help:"Show what holds for all in an org, or change it."`
}

type orgCreateCmd struct {
	Slug string `arg:"" help:"1 to 63 of a–z, 0–9 and -."`
	Name string `env:"PRELUDE_ORG_NAME" help:"The org's name; the default is its slug."`
}

// Run makes an org.
func (c orgCreateCmd) Run(ctx context.Context, cfg *Config, s streams) error {
	name := c.Name
	if name == "" {
		name = c.Slug
	}
	return withOrgs(ctx, cfg, s, func(orgs commands.Orgs) (commands.Founding, error) {
		_, there, err := orgs.Owner(ctx, c.Slug)
		if err == nil && there {
			err = fmt.Errorf("the org %s is there already: prelude org key %[1]s issues a key", c.Slug)
		}
		if err != nil {
			return commands.Founding{}, err
		}
		return orgs.Create(ctx, c.Slug, name)
	})
}

type orgKeyCmd struct {
	Slug string `arg:"" help:"The org's slug."`
}

// Run issues a key.
func (c orgKeyCmd) Run(ctx context.Context, cfg *Config, s streams) error {
	return withOrgs(ctx, cfg, s, func(orgs commands.Orgs) (commands.Founding, error) {
		return orgs.IssueOwnerKey(ctx, c.Slug)
	})
}

func withOrgs(ctx context.Context, cfg *Config, s streams,
	do func(commands.Orgs) (commands.Founding, error)) error {
	if err := cfg.check(); err != nil {
		return err
	}
	p, err := openAll(ctx, cfg, cfg.logger(s.err), false)
	if err != nil {
		return errors.Join(err, p.Close())
	}
	f, err := do(commands.Orgs{Engine: p.engine, MAC: p.vault.MasterMAC})
	if err == nil {
		_, err = fmt.Fprintf(s.out, "org   %s\nowner %s\nkey   %s (shown once)\n", f.Org, f.Owner, f.Secret)
	}
	return errors.Join(readable(err), p.Close())
}

// readable is a refusal as a sentence.
func readable(err error) error {
	var refusal *domain.Error
	if !errors.As(err, &refusal) {
		return err
	}
	text := refusal.Detail
	for _, f := range refusal.Fields {
		text += " " + f.Name + " " + f.Detail + "."
	}
	return errors.New(text)
}

type auditCmd struct {
	Object string `arg:"" optional:"" help:"The id of a thing; none: everything."`
	JSON   bool   `env:"PRELUDE_AUDIT_JSON" help:"One JSON object a line." name:"json"`
}

// Run replays the log, which is all it needs: no database, and so no keys and no texts.
func (c auditCmd) Run(ctx context.Context, cfg *Config, s streams) error {
	if err := cfg.check(); err != nil {
		return err
	}
	p, err := openLog(ctx, cfg, cfg.logger(s.err), false)
	if err == nil {
		err = c.replay(ctx, p.log, s)
	}
	return errors.Join(err, p.Close())
}

// unreadable are the events of one of our streams that a replay could not show.
type unreadable struct {
	events int
	first  error
}

func (u *unreadable) add(raw eventlog.Raw, err error) {
	if u.events++; u.first == nil {
		u.first = fmt.Errorf("event %d of %s: %w", raw.Revision, raw.Stream, err)
	}
}

func (u *unreadable) err() error {
	if u.first == nil {
		return nil
	}
	return fmt.Errorf("%d events cannot be read and are not shown; the first is %w", u.events, u.first)
}

// replay prints what it can read of the log, and then says what it could not: one event must not hide those after it.
func (c auditCmd) replay(ctx context.Context, log *eventlog.Log, s streams) error {
	var foreign others
	var broken unreadable
	for raw, err := range log.Store.ReadAll(ctx, 0, eventlog.Forwards, 0) {
		if err != nil {
			return err
		}
		if len(raw.Type) > 0 && raw.Type[0] == '$' || raw.Stream[0] == '$' {
			continue // the store's own
		}
		rec, err := eventlog.Decode(raw)
		switch {
		case errors.Is(err, eventlog.ErrForeign):
			foreign.pass(raw.Stream)
			continue
		case err != nil:
			if err := c.passUnread(ctx, log, raw, err, &foreign, &broken); err != nil {
				return err
			}
			continue
		}
		e := rec.Entry()
		if e.Object == "" || c.Object != "" && e.Object != c.Object {
			continue
		}
		if err := c.print(s.out, e); err != nil {
			return err
		}
	}
	foreign.tell(s.err, "not shown")
	return broken.err()
}

// passUnread counts an event of one of our streams that cannot be read: with the others', where its org was never
// founded in this log.
func (c auditCmd) passUnread(ctx context.Context, log *eventlog.Log, raw eventlog.Raw, why error, foreign *others,
	broken *unreadable) error {
	ours, err := founded(ctx, log, raw.Stream)
	switch {
	case err != nil:
		return err
	case ours:
		broken.add(raw, why)
	default:
		foreign.pass(raw.Stream)
	}
	return nil
}

func (c auditCmd) print(out io.Writer, e eventlog.Entry) error {
	data, err := json.Marshal(e.Data)
	if err != nil {
		return err
	}
	at := e.At.Format("2006-01-02T15:04:05.000Z")
	if !c.JSON {
		by := e.User
		if by == "" {
			by = "system:" + e.Job
		}
		_, err = fmt.Fprintf(out, "%s  %-26s %s  %-8d %s  %s %v %s\n", at, e.Kind, e.Object, e.Revision, by,
			e.Rule, e.Fields, data)
		return err
	}
	line, err := json.Marshal(map[string]any{"id": e.ID, "kind": e.Kind, "object": e.Object,
		"revision": e.Revision, "position": e.Position, "at": at, "user": e.User, "key": e.Key, "job": e.Job,
		"rule": e.Rule, "command": e.Command, "fields": e.Fields, "data": e.Data})
	if err == nil {
		_, err = fmt.Fprintln(out, string(line))
	}
	return err
}
