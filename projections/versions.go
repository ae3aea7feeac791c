package projections

import (
	"context"
	"fmt"
	"regexp"
	"strconv"

	"github.com/jackc/pgx/v5"
)

// ofVersion is what a reader's schema is called.
var ofVersion = regexp.MustCompile(`^([a-z]+)_([0-9]+)$`)

// Older lists the readers' versions before this program's that there are tables of.
func Older(ctx context.Context, conn *pgx.Conn) ([]Reader, error) {
	names, err := schemas(ctx, conn)
	if err != nil {
		return nil, err
	}
	var all []Reader
	for _, name := range names {
		m := ofVersion.FindStringSubmatch(name)
		if m == nil {
			continue
		}
		version, err := strconv.Atoi(m[2])
		for _, r := range Kept() {
			if err == nil && r.Name == m[1] && version < r.Version {
				r.Version = version
				all = append(all, r)
			}
		}
	}
	return all, nil
}

// DropAside is the SQL that takes away what builds that were not ended have left. Nobody may be building aside.
func DropAside(ctx context.Context, conn *pgx.Conn) ([]string, error) {
	names, err := schemas(ctx, conn)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, table := range []string{"checkpoints", "parked", "leases"} {
		all = append(all, "DELETE FROM prelude."+table+" WHERE version < 0")
	}
	for _, name := range names {
		if len(name) > len(asidePrefix) && name[:len(asidePrefix)] == asidePrefix {
			all = append(all, "DROP SCHEMA "+pgx.Identifier{name}.Sanitize()+" CASCADE")
		}
	}
	return all, nil
}

func schemas(ctx context.Context, conn *pgx.Conn) ([]string, error) {
	rows, err := conn.Query(ctx, `SELECT nspname FROM pg_namespace ORDER BY nspname`)
	if err != nil {
		return nil, fmt.Errorf("list the schemas: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("list the schemas: %w", err)
	}
	return names, nil
}
