package projections

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// A row is found by its primary key in tables of which Postgres knows nothing yet: another index would have all
// rows of the org read for each, until the tables are analyzed.
func TestReaders_find_rows_in_tables_that_are_new(t *testing.T) {
	t.Parallel()
	_, dsn := database(t)
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	type table struct{ Name, Key, Types, Question string }
	rows, err := conn.Query(t.Context(), `SELECT c.oid::regclass::text AS name, i.indexrelid::regclass::text AS key,
			string_agg(format_type(a.atttypid, NULL), ', ' ORDER BY a.attnum) AS types,
			string_agg(format('%I = $%s', t.attname, a.attnum), ' AND ' ORDER BY a.attnum) AS question
		FROM pg_class c JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
		JOIN pg_attribute a ON a.attrelid = i.indexrelid
		JOIN pg_attribute t ON t.attrelid = c.oid AND t.attnum = i.indkey[a.attnum - 1]
		WHERE c.relnamespace::regnamespace::text = ANY($1) GROUP BY 1, 2`,
		[]string{RightsReader().Schema(), ViewsReader().Schema()})
	if err != nil {
		t.Fatal(err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowToStructByName[table])
	if err != nil {
		t.Fatal(err)
	}
	if len(tables) != 10 {
		t.Errorf("%d tables have a primary key", len(tables))
	}
	for i, at := range tables {
		plan := explain(t, conn, fmt.Sprintf(`PREPARE p%d (%s) AS SELECT * FROM %s WHERE %s`, i, at.Types, at.Name,
			at.Question), fmt.Sprintf(`EXECUTE p%d (%s)`, i, strings.Repeat("NULL, ", strings.Count(at.Types, ","))+"NULL"))
		if _, key, _ := strings.Cut(at.Key, "."); !strings.Contains(plan, "Index Scan using "+key+" ") {
			t.Errorf("%s is not asked by its primary key:\n%s", at.Name, plan)
		}
	}
	if _, err := conn.Exec(t.Context(), `SET search_path = `+ViewsReader().Schema()); err != nil {
		t.Fatal(err)
	}
	plan := explain(t, conn, `PREPARE ends (text[], text[], text[], text[], bytea[], text[]) AS `+endMessagesSQL,
		`EXECUTE ends (NULL, NULL, NULL, NULL, NULL, NULL)`)
	if strings.Contains(plan, "Seq Scan") {
		t.Errorf("replies are looked for among all messages:\n%s", plan)
	}
	for _, table := range []string{"presets", "sessions"} {
		plan := explain(t, conn, `PREPARE `+table+` (text[], text[]) AS `+byKeys("state, pos", table),
			`EXECUTE `+table+` (NULL, NULL)`)
		if !strings.Contains(plan, "Index Scan using "+table+"_pkey ") {
			t.Errorf("several rows of %s are not asked by their keys:\n%s", table, plan)
		}
	}
}

// explain gives the plan of a prepared statement that is used again and again.
func explain(t *testing.T, conn *pgx.Conn, prepare, execute string) string {
	t.Helper()
	for _, sql := range []string{`SET plan_cache_mode = force_generic_plan`, prepare} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	rows, err := conn.Query(t.Context(), `EXPLAIN `+execute, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}
