package projections

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"prelude/internal/eventlog"
)

// Difference is one row that is not the same in two builds: where it is, and in which columns they differ. What stands
// in them it does not tell.
type Difference struct {
	Table   string
	Key     string   // ids and numbers
	Columns []string // empty: only one of the two has the row
	Only    string   // the schema that alone has the row; empty: both have it
}

// Served is a look at a reader's tables as they are at one moment, which stays while they change. Close ends it.
type Served struct {
	tx     pgx.Tx
	schema string
	At     eventlog.Position // how far they had applied the log
}

// Look takes the moment. Every column of every table is looked at: none depends on when or by whom it was written.
func Look(ctx context.Context, conn *pgx.Conn, r Reader) (*Served, error) {
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, fmt.Errorf("look at %s: %w", r.Name, err)
	}
	s := &Served{tx: tx, schema: r.Schema()}
	var at int64
	_, err = tx.Exec(ctx, "SET LOCAL ROLE prelude_proj")
	if err == nil {
		err = tx.QueryRow(ctx, `SELECT coalesce(max(pos), 0) FROM prelude.checkpoints
			WHERE reader = $1 AND version = $2`, r.Name, r.Version).Scan(&at)
	}
	if err != nil {
		return nil, fmt.Errorf("look at %s: %w", r.Name, errors.Join(err, s.Close(ctx)))
	}
	s.At = eventlog.Position(at)
	return s, nil
}

// Close ends the look.
func (s *Served) Close(ctx context.Context) error { return s.tx.Rollback(ctx) }

// Compare holds two looks against each other, row by row and both ways, and tells each difference. It gives the number
// of rows of the first.
func Compare(ctx context.Context, a, b *Served, tell func(Difference)) (rows int, err error) {
	tables, err := a.tables(ctx)
	if err != nil {
		return 0, err
	}
	others, err := b.tables(ctx)
	if err != nil {
		return 0, err
	}
	for _, t := range both(tables, others) {
		left, right := find(tables, t), find(others, t)
		switch {
		case left == nil:
			tell(Difference{Table: t, Only: b.schema})
			continue
		case right == nil:
			tell(Difference{Table: t, Only: a.schema})
			continue
		case !slices.Equal(left.columns, right.columns):
			tell(Difference{Table: t, Columns: both(left.columns, right.columns)})
			continue
		}
		n, err := compare(ctx, a, b, left, tell)
		if rows += n; err != nil {
			return rows, fmt.Errorf("compare %s: %w", t, err)
		}
	}
	return rows, nil
}

// table is one table of a schema: its columns, and those of its key.
type table struct {
	name    string
	columns []string
	key     []string
}

func find(tables []table, name string) *table {
	for i := range tables {
		if tables[i].name == name {
			return &tables[i]
		}
	}
	return nil
}

// both are the names of two lists, each once.
func both[T table | string](a, b []T) []string {
	var names []string
	for _, v := range append(slices.Clone(a), b...) {
		switch v := any(v).(type) {
		case table:
			names = append(names, v.name)
		case string:
			names = append(names, v)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (s *Served) tables(ctx context.Context) ([]table, error) {
	rows, err := s.tx.Query(ctx, `SELECT c.relname,
			array_agg(a.attname::text ORDER BY a.attname),
			array_agg(a.attname::text ORDER BY array_position(i.indkey::int2[], a.attnum))
				FILTER (WHERE a.attnum = ANY (i.indkey))
		FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
		WHERE c.relnamespace = to_regnamespace($1) AND c.relkind = 'r' GROUP BY c.relname ORDER BY c.relname`, s.schema)
	if err != nil {
		return nil, fmt.Errorf("list the tables of %s: %w", s.schema, err)
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (table, error) {
		var t table
		err := row.Scan(&t.name, &t.columns, &t.key)
		return t, err
	})
}

// digests asks for each row's key and one digest for each column, in the order of the keys.
func (s *Served) digests(ctx context.Context, t *table) (pgx.Rows, error) {
	quoted := func(names []string, form string) string {
		all := make([]string, len(names))
		for i, n := range names {
			all[i] = fmt.Sprintf(form, pgx.Identifier{n}.Sanitize())
		}
		return strings.Join(all, ", ")
	}
	return s.tx.Query(ctx, fmt.Sprintf(`SELECT ROW(%s)::text COLLATE "C" AS key, ARRAY[%s] FROM %s ORDER BY 1`,
		quoted(t.key, "%s"), quoted(t.columns, "md5(coalesce(%s::text, 'null'))"),
		pgx.Identifier{s.schema, t.name}.Sanitize()))
}

// cursor is one side of a comparison, at one of its rows.
type cursor struct {
	rows    pgx.Rows
	key     string
	digests []string
	more    bool
}

func (c *cursor) next() error {
	if c.more = c.rows.Next(); !c.more {
		return c.rows.Err()
	}
	return c.rows.Scan(&c.key, &c.digests)
}

func compare(ctx context.Context, a, b *Served, t *table, tell func(Difference)) (n int, err error) {
	left, right := &cursor{}, &cursor{}
	for c, s := range map[*cursor]*Served{left: a, right: b} {
		if c.rows, err = s.digests(ctx, t); err != nil {
			return n, err
		}
		defer c.rows.Close()
		if err := c.next(); err != nil {
			return n, err
		}
	}
	for left.more || right.more {
		step := []*cursor{left, right}
		switch {
		case !right.more || left.more && left.key < right.key:
			tell(Difference{Table: t.name, Key: left.key, Only: a.schema})
			step = step[:1]
		case !left.more || right.key < left.key:
			tell(Difference{Table: t.name, Key: right.key, Only: b.schema})
			step = step[1:]
		case !slices.Equal(left.digests, right.digests):
			tell(Difference{Table: t.name, Key: left.key, Columns: t.differing(left.digests, right.digests)})
		}
		for _, c := range step {
			if c == left {
				n++
			}
			if err := c.next(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// differing names the columns whose digests differ.
func (t *table) differing(a, b []string) []string {
	var names []string
	for i, column := range t.columns {
		if a[i] != b[i] {
			names = append(names, column)
		}
	}
	return names
}
