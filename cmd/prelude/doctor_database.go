package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/jackc/pgx/v5"

	"prelude/domain"
	"prelude/internal/pgserver"
	"prelude/internal/postgres"
	"prelude/internal/vault"
	"prelude/migrations"
	"prelude/projections"
)

// database looks at the database and at what is in it, or where none runs yet, at what one would start with.
func (p *patient) database(ctx context.Context) []finding {
	if p.cfg.DatabaseURL != "" {
		all := p.inside(ctx, p.cfg.DatabaseURL, finding{part: "database (DATABASE_URL)", note: "it answers",
			mend: "start the Postgres that DATABASE_URL names"})
		return append(all, p.login(ctx)...)
	}
	f := finding{part: "database (embedded)",
		mend: "mend what is said, or set DATABASE_URL to a Postgres 15 or later"}
	found, err := pgserver.Look(ctx, pgserver.Config{Dir: p.cfg.path("postgres")})
	if err != nil {
		f.err = err
		_, key := p.master(!found.Made)
		return []finding{f, key}
	}
	f.note = fmt.Sprintf("Postgres %d of %s", found.Major, found.Bin)
	dsn, err := os.ReadFile(p.cfg.path(databaseFile))
	switch {
	case !found.Made && p.logged():
		f.note += "; its data folder will be made at the next start: if there was one, put it back from your " +
			"backup first, for the vault is in it"
	case !found.Made:
		f.note += "; its data folder " + atFirst
	case !found.Running:
		f.note += "; it does not run now; the next start starts it"
	case errors.Is(err, fs.ErrNotExist):
		f.note += "; it runs, and is not ready yet"
	case err != nil:
		f.err = err
	default:
		f.note += "; it runs, and answers"
		return p.inside(ctx, string(dsn), f)
	}
	_, key := p.master(!found.Made)
	return []finding{f, key}
}

// inside looks at what is in a database that should answer; f is what is known of the database so far.
func (p *patient) inside(ctx context.Context, dsn string, f finding) []finding {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := postgres.Look(ctx, dsn)
	if err != nil {
		f.err = err
		_, key := p.master(!p.logged())
		return []finding{f, key}
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // nothing is in flight
	tables, made := p.tables(ctx, conn)
	if !made {
		_, key := p.master(true)
		return []finding{f, tables, key}
	}
	all := []finding{f, tables, p.wall(ctx, conn), p.vault(ctx, conn), p.belongs(ctx, conn)}
	unseen := p.unread
	if tables.err != nil {
		unseen = "the tables are not of this program's version"
	}
	return append(all, p.readers(ctx, conn, unseen)...)
}

// login looks whether the pool's own login answers, where there is one.
func (p *patient) login(ctx context.Context) []finding {
	if p.cfg.DatabasePoolURL == "" {
		return nil
	}
	f := finding{part: "database (DATABASE_POOL_URL)", note: "it answers",
		mend: "name the same Postgres, by the user prelude_login, which ALTER ROLE … LOGIN PASSWORD lets in"}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := postgres.Look(ctx, p.cfg.DatabasePoolURL)
	if err != nil {
		f.err = err
		return []finding{f}
	}
	if user := conn.Config().User; user != postgres.LoginRole {
		f.err = fmt.Errorf("its user must be %s", postgres.LoginRole)
	}
	f.err = errors.Join(f.err, conn.Close(ctx))
	return []finding{f}
}

// logged says whether an embedded log was begun here.
func (p *patient) logged() bool {
	_, err := os.Stat(p.cfg.path("log"))
	return err == nil
}

// tables holds the version of the tables against the program's; made says that there are any.
func (p *patient) tables(ctx context.Context, conn *pgx.Conn) (f finding, made bool) {
	f = finding{part: "tables", mend: "run prelude migrate, or start the server, which does so too"}
	has, last, err := postgres.Versions(ctx, conn, migrations.FS)
	f.note = fmt.Sprintf("version %d, the program's own", has)
	switch {
	case err != nil:
		f.err = err
	case has == 0:
		f.note = "they will be made at the first start"
	case has < last:
		f.err = fmt.Errorf("they have version %d, and the program's is %d", has, last)
	case has > last:
		f.err = fmt.Errorf("they have version %d, and the program knows %d", has, last)
		f.mend = "run the newer program that made them"
	}
	return f, has > 0
}

func (p *patient) wall(ctx context.Context, conn *pgx.Conn) finding {
	f := finding{part: "row-level security", mend: "run prelude migrate as the database's owner"}
	built, err := postgres.Exists(ctx, conn, presetsTable())
	f.err = errors.Join(err, postgres.CheckRoles(ctx, conn))
	switch {
	case f.err != nil:
	case !built:
		f.note = "what is built from the log will be made at the next start"
	default:
		f.err = postgres.Walled(ctx, conn, presetsTable())
	}
	return f
}

// presetsTable is a table that the wall is tried at.
func presetsTable() string { return projections.ViewsReader().Schema() + ".presets" }

// vault proves that the master key is the one that the vault was made with.
func (p *patient) vault(ctx context.Context, conn *pgx.Conn) finding {
	fresh, err := vault.Fresh(ctx, conn)
	key, f := p.master(fresh && err == nil)
	found, cut := vault.Look(ctx, conn, p.cfg.masterKey())
	switch {
	case err != nil:
		f.err = fmt.Errorf("look at the vault: %w", err)
	case cut != nil:
		f.err = cut
	case found == vault.Completed:
		f.note, f.err = "the next start will find: "+found, nil
	case f.err == nil && fresh:
		return p.age(ctx, conn, f) // there may be a log already
	case f.err == nil:
		f.note += " opens the vault"
		if f.err = vault.Check(ctx, conn, key); f.err == nil {
			return p.age(ctx, conn, f)
		}
	}
	return f
}

// age holds the vault against the log's end, where the log can be read without starting anything. Of a log that was not
// read nothing is said, and so nothing of the vault's age.
func (p *patient) age(ctx context.Context, conn *pgx.Conn, f finding) finding {
	if p.log == nil {
		f.note += ", and was not held against the log: " + p.unread
		return f
	}
	var named int
	var lacking []domain.KeyID
	id, err := p.log.Identity(ctx)
	if err == nil {
		named, lacking, err = newKeys(ctx, p.log, id, conn, nil)
	}
	switch {
	case len(lacking) > 0:
		f.err, f.mend = olderVault(named, len(lacking)), "restore the newest backup of the vault: prelude vault restore"
	case ctx.Err() != nil:
		f.note += fmt.Sprintf(", which has the %d keys that the first part of the log names; the rest takes too long", named)
	case err != nil:
		f.err, f.mend = fmt.Errorf("hold the vault against the log: %w", err), "see the event store"
	default:
		f.note += fmt.Sprintf(", which has all %d keys that the log names in its newest part", named)
	}
	return f
}

// belongs holds the log's id against the one that the database was built from.
func (p *patient) belongs(ctx context.Context, conn *pgx.Conn) finding {
	f := finding{part: "log", unseen: p.unread,
		mend: "open the log that the database was built from; after a restore or a copy, prelude rebuild --yes"}
	if p.log == nil {
		return f
	}
	id, err := p.log.Identity(ctx)
	built, known, asked := postgres.BuiltFrom(ctx, conn)
	switch {
	case err != nil || asked != nil:
		f.err, f.mend = errors.Join(err, asked), "see the event store and the database"
	case id == "":
		f.note = "it is empty of what is Prelude's; the first start begins it"
	case !known:
		f.note = "its id is " + id + "; no server has built anything from it yet"
	case built != id:
		f.err = postgres.ErrOtherLog
	default:
		f.note = "its id is " + id + ", from which the database was built"
	}
	return f
}
