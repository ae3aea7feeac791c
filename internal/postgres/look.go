package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5"
	"github.com/pressly/goose/v3"
)

// Look opens one connection that can change nothing.
func Look(ctx context.Context, dsn string) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, errors.New("it is not a Postgres connection string") // the cause may show the password
	}
	cfg.RuntimeParams["default_transaction_read_only"] = "on"
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to the database: %w", err)
	}
	return conn, nil
}

// Versions says which migration the database has, 0 being none, and which is the program's last.
func Versions(ctx context.Context, conn *pgx.Conn, files fs.FS) (has, last int64, err error) {
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return 0, 0, fmt.Errorf("read the migrations: %w", err)
	}
	for _, name := range names {
		v, err := goose.NumericComponent(name)
		if err != nil {
			return 0, 0, fmt.Errorf("read the migrations: %w", err)
		}
		last = max(last, v)
	}
	there, err := Exists(ctx, conn, "public.goose_db_version")
	if err != nil || !there {
		return 0, last, err
	}
	err = conn.QueryRow(ctx, `SELECT coalesce(max(version_id), 0) FROM public.goose_db_version
		WHERE is_applied`).Scan(&has)
	if err != nil {
		return 0, 0, fmt.Errorf("ask for the version of the tables: %w", err)
	}
	return has, last, nil
}

// Exists says whether there is a table.
func Exists(ctx context.Context, conn *pgx.Conn, table string) (bool, error) {
	there := false
	err := conn.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", table).Scan(&there)
	if err != nil {
		return false, fmt.Errorf("look for a table: %w", err)
	}
	return there, nil
}
