package projections

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

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

// Feeding is an instance that feeds a reader in a version before this program's.
type Feeding struct {
	Reader  string
	Version int
	Owner   string
}

// ofProgram are the readers' versions of this program.
var ofProgram = map[string]int{Rights: RightsVersion, Views: ViewsVersion, IndexReader: IndexVersion, Out: OutVersion}

// Feeders lists who feeds versions before this program's. Who was killed is among them until its lease has run out.
func Feeders(ctx context.Context, conn *pgx.Conn) ([]Feeding, error) {
	var all []Feeding
	b := &pgx.Batch{}
	b.Queue(`SELECT set_config('role', 'prelude_proj', true)`)
	b.Queue("SELECT reader, version, owner " + fedOlder() + " ORDER BY reader, version").Query(func(rows pgx.Rows) error {
		var err error
		all, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Feeding])
		return err
	})
	if err := conn.SendBatch(ctx, b).Close(); err != nil {
		return nil, fmt.Errorf("ask who feeds older versions: %w", err)
	}
	return all, nil
}

func fedOlder() string {
	var older []string
	for _, name := range slices.Sorted(maps.Keys(ofProgram)) {
		older = append(older, fmt.Sprintf("reader = '%s' AND version BETWEEN 0 AND %d", name, ofProgram[name]-1))
	}
	return "FROM prelude.leases WHERE expires > now() AND (" + strings.Join(older, " OR ") + ")"
}

// DropOlder is the SQL that takes away older versions. It fails where somebody feeds one by then, and nobody begins to
// while it runs.
func DropOlder(old []Reader) []string {
	all := []string{"LOCK TABLE prelude.leases IN SHARE ROW EXCLUSIVE MODE",
		"DO $$ BEGIN IF EXISTS (SELECT " + fedOlder() + `) THEN
			RAISE EXCEPTION 'an instance has just begun to feed an older version'; END IF; END $$`}
	for _, r := range old {
		all = append(all, r.Drop()...)
	}
	return all
}

// ForgetIndex is the SQL that takes away how far the reader of a dropped index was.
func ForgetIndex(version int) []string { return forget(IndexReader, version) }

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
