// Package postgres connects to the database: it migrates what is not rebuilt, and opens the pool whose
// connections can do nothing until a statement takes one of the inner roles.
package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// loginRole is what connections are before a statement takes an inner role: it may read nothing.
const loginRole = "prelude_login"

// Open opens a pool. It does not wait for the server; [Ready] does.
func Open(ctx context.Context, dsn string) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, errors.New("DATABASE_URL is not a Postgres connection string") // the cause may show the password
	}
	cfg.MaxConns = max(cfg.MaxConns, 16)
	cfg.ConnConfig.ConnectTimeout = 5 * time.Second
	cfg.AfterConnect = func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, "SET ROLE "+loginRole)
		return err
	}
	return pgxpool.NewWithConfig(ctx, cfg)
}

// Migrate brings the database to this program's state, one program at a time.
func Migrate(ctx context.Context, dsn string, files fs.FS) error {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return errors.New("DATABASE_URL is not a Postgres connection string")
	}
	// goose looks for its table in the first schema of the path, which would be that of the user's name.
	cfg.RuntimeParams["search_path"] = "public"
	db := stdlib.OpenDB(*cfg)
	defer func() { _ = db.Close() }() // nothing is in flight
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithSessionLocker(locker))
	if err != nil {
		return fmt.Errorf("read the migrations: %w", err)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate the database: %w", err)
	}
	return checkRoles(ctx, db)
}

// ErrRole says that a role could pass the wall between orgs.
var ErrRole = errors.New("the role prelude_login, or one it may take, is a superuser or bypasses " +
	"row-level security: ALTER ROLE … NOSUPERUSER NOBYPASSRLS NOINHERIT")

func checkRoles(ctx context.Context, db *sql.DB) error {
	var strong int
	err := db.QueryRowContext(ctx, `SELECT count(*) FROM pg_roles WHERE rolname LIKE 'prelude\_%'
		AND (rolsuper OR rolbypassrls OR (rolname = 'prelude_login' AND rolinherit))`).Scan(&strong)
	if err != nil {
		return fmt.Errorf("check the roles: %w", err)
	}
	if strong > 0 {
		return ErrRole
	}
	return nil
}

// Owned runs SQL as the owner of the tables, in one transaction under a lock that all programs share: the
// tables that are rebuilt from the log are made so.
func Owned(ctx context.Context, dsn string, statements ...string) error {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return fmt.Errorf("connect to the database: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // the transaction has ended
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(7317),
			set_config('role', 'prelude_owner', true)`)
		if err != nil {
			return err
		}
		for _, s := range statements {
			if _, err := tx.Exec(ctx, s); err != nil {
				return fmt.Errorf("make the tables: %w", err)
			}
		}
		return nil
	})
}

// Ready asks the database one cheap question.
func Ready(ctx context.Context, pool *pgxpool.Pool) error {
	var one int
	return pool.QueryRow(ctx, "SELECT 1").Scan(&one)
}

// ErrOtherLog: the database belongs to another log than the one that is open.
var ErrOtherLog = errors.New("the database was built from another event log: open the log that it belongs to, " +
	"or use an empty database (its vault holds the keys of the other log: do not drop it without a backup)")

// Belongs notes which log the database belongs to, and refuses another.
func Belongs(ctx context.Context, dsn, logID string) error {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return fmt.Errorf("connect to the database: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // nothing is in flight
	var stored string
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL ROLE prelude_owner"); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `INSERT INTO prelude.log (id) VALUES ($1) ON CONFLICT DO NOTHING`, logID); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `SELECT id FROM prelude.log`).Scan(&stored)
	})
	if err != nil {
		return fmt.Errorf("hold the log's id against the database: %w", err)
	}
	if stored != logID {
		return ErrOtherLog
	}
	return nil
}

// ErrOpen says that rows can be seen without an org.
var ErrOpen = errors.New("rows can be seen without an org being set")

// Walled asks without a role and without an org, and expects to see nothing.
func Walled(ctx context.Context, pool *pgxpool.Pool) error {
	b := &pgx.Batch{}
	b.Queue(`SELECT set_config('role', 'prelude_app', true)`)
	seen := 0
	b.Queue(`SELECT count(*) FROM views_1.presets`).QueryRow(func(r pgx.Row) error { return r.Scan(&seen) })
	if err := pool.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("ask without an org: %w", err)
	}
	if seen > 0 {
		return ErrOpen
	}
	return nil
}
