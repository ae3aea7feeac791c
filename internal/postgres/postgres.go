// Package postgres connects to the database: it migrates what is not rebuilt, and opens the pool whose
// connections can do nothing until a statement takes one of the inner roles.
package postgres

import (
	"context"
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

// LoginRole is what connections are before a statement takes an inner role: it may read nothing.
const LoginRole = "prelude_login"

// Open opens a pool. It does not wait for the server; [Ready] does. A user other than [LoginRole] takes that role
// when a connection is made. That is the weaker way: a RESET ROLE that got into a statement would lead back to
// the user's own rights, so a user who can do more should not be the pool's.
func Open(ctx context.Context, dsn string) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, errors.New("DATABASE_URL is not a Postgres connection string") // the cause may show the password
	}
	cfg.MaxConns = max(cfg.MaxConns, 16)
	cfg.ConnConfig.ConnectTimeout = 5 * time.Second
	if cfg.ConnConfig.User != LoginRole {
		cfg.AfterConnect = func(ctx context.Context, c *pgx.Conn) error {
			_, err := c.Exec(ctx, "SET ROLE "+LoginRole)
			return err
		}
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
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return fmt.Errorf("connect to the database: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // nothing is in flight
	return CheckRoles(ctx, conn)
}

// Login lets the login role connect by itself, without a password: for a server that trusts who reaches it.
func Login(ctx context.Context, dsn string) error {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return fmt.Errorf("connect to the database: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // the transaction has ended
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		// Two at once would change the same row.
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", ownedLock); err != nil {
			return err
		}
		var may bool
		err := tx.QueryRow(ctx, "SELECT rolcanlogin FROM pg_roles WHERE rolname = $1", LoginRole).Scan(&may)
		if err == nil && !may {
			_, err = tx.Exec(ctx, "ALTER ROLE "+LoginRole+" LOGIN")
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("let the login role connect: %w", err)
	}
	return nil
}

// Users says as whom the pool's connections came in, to which RESET ROLE leads back, and what they are now.
func Users(ctx context.Context, pool *pgxpool.Pool) (session, current string, err error) {
	err = pool.QueryRow(ctx, "SELECT session_user::text, current_user::text").Scan(&session, &current)
	if err != nil {
		return "", "", fmt.Errorf("ask who the pool is: %w", err)
	}
	return session, current, nil
}

// ErrRole says that a role could pass the wall between orgs.
var ErrRole = errors.New("the role prelude_login, or one it may take, is a superuser or bypasses " +
	"row-level security: ALTER ROLE … NOSUPERUSER NOBYPASSRLS NOINHERIT")

// CheckRoles refuses roles that could pass the wall. Error: [ErrRole].
func CheckRoles(ctx context.Context, conn *pgx.Conn) error {
	var strong int
	err := conn.QueryRow(ctx, `SELECT count(*) FROM pg_roles WHERE rolname LIKE 'prelude\_%'
		AND (rolsuper OR rolbypassrls OR (rolname = 'prelude_login' AND rolinherit))`).Scan(&strong)
	if err != nil {
		return fmt.Errorf("check the roles: %w", err)
	}
	if strong > 0 {
		return ErrRole
	}
	return nil
}

// The advisory locks of all programs on a database.
const (
	ownedLock  = 7317 // of changes that all make to the same things
	VerifyLock = 7318 // of builds that are thrown away
	placeLock  = 7319 // that places are parts of
)

// Owned runs SQL as the owner of the tables, in one transaction under a lock that all programs share: the
// tables that are rebuilt from the log are made so.
func Owned(ctx context.Context, dsn string, statements ...string) error {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return fmt.Errorf("connect to the database: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // the transaction has ended
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1),
			set_config('role', 'prelude_owner', true)`, ownedLock)
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
var ErrOtherLog = errors.New("the database was built from another event log: open the log that it belongs to. " +
	"After a restore or a copy of the log, prelude rebuild --yes builds the database from this one, and keeps the vault")

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

// BuiltFrom is the id of the log that the database was built from; false: of none yet.
func BuiltFrom(ctx context.Context, conn *pgx.Conn) (id string, known bool, err error) {
	err = conn.QueryRow(ctx, `SELECT coalesce(max(id), '') FROM prelude.log`).Scan(&id)
	if err != nil {
		return "", false, fmt.Errorf("ask which log the database is of: %w", err)
	}
	return id, id != "", nil
}

// Adopt makes the database that of a log. If it was of another, what the readers and consumers
// have noted goes with that: their positions are the other log's. The vault stays.
func Adopt(ctx context.Context, dsn, logID string) (changed bool, err error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return false, fmt.Errorf("connect to the database: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // the transaction has ended
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL ROLE prelude_owner"); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `INSERT INTO prelude.log (id) VALUES ($1) ON CONFLICT DO NOTHING`, logID); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `UPDATE prelude.log SET id = $1 WHERE id <> $1`, logID)
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		changed = true
		_, err = tx.Exec(ctx, `TRUNCATE prelude.checkpoints, prelude.parked, prelude.consumers,
			prelude.consumed_late, prelude.usage_daily, prelude.snapshots`)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("make the database this log's: %w", err)
	}
	return changed, nil
}

// ErrOpen says that rows can be seen without an org.
var ErrOpen = errors.New("rows can be seen without an org being set")

// Walled asks a table without an org, and expects to see nothing.
func Walled(ctx context.Context, q interface {
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}, table string) error {
	b := &pgx.Batch{}
	b.Queue(`SELECT set_config('role', 'prelude_app', true)`)
	seen := 0
	b.Queue(`SELECT count(*) FROM ` + table).QueryRow(func(r pgx.Row) error { return r.Scan(&seen) })
	if err := q.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("ask without an org: %w", err)
	}
	if seen > 0 {
		return ErrOpen
	}
	return nil
}

// ErrOtherDatabase: the pool's address and the owner's lead to two databases.
var ErrOtherDatabase = errors.New("DATABASE_POOL_URL leads to another database than DATABASE_URL")

// database tells a database from others: when its server started, and its number there.
const database = `SELECT pg_postmaster_start_time()::text || ' ' || oid::text FROM pg_database
	WHERE datname = current_database()`

// Same says whether the pool is on the database of dsn.
func Same(ctx context.Context, dsn string, pool *pgxpool.Pool) error {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return fmt.Errorf("connect to the database: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // nothing is in flight
	var owners, pools string
	err = errors.Join(conn.QueryRow(ctx, database).Scan(&owners), pool.QueryRow(ctx, database).Scan(&pools))
	if err != nil {
		return fmt.Errorf("hold the two databases against each other: %w", err)
	}
	if owners != pools {
		return ErrOtherDatabase
	}
	return nil
}
