package search

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"prelude/internal/pgserver/pgtest"
	"prelude/projections"
)

const roles = `
do $$
declare r text;
begin
	foreach r in array '{prelude_owner,prelude_app,prelude_proj}'::text[] loop
		if not exists (select from pg_roles where rolname = r) then
			execute 'create role ' || r;
		end if;
	end loop;
end $$;
create schema views_1;
set search_path = views_1, public;
`

const put = `
insert into preset_search (org, id, owner, scope, status, language, tags, name, description,
	tsv, tri, updated_at, deleted, pos)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, preset_search_tsv($8, $9, $7, $10),
	preset_search_tri($8, $9, $7, $6, $10), $11, $12, $13)`

type finding struct{ id, name, description string }

// found is a database with the search table, filled with docs.
func filled(t *testing.T, key string, docs func() []projections.Document) *pgx.Conn {
	t.Helper()
	dsn := pgtest.Template(t, key, func(dsn string) error {
		ctx := context.Background()
		conn, err := pgx.Connect(ctx, dsn)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close(ctx) }()
		extensions, err := os.ReadFile("../../projections/search_extensions.sql")
		if err != nil {
			return err
		}
		table, err := os.ReadFile("../../projections/search.sql")
		if err != nil {
			return err
		}
		for _, sql := range []string{string(extensions), roles, string(table)} {
			if _, err := conn.Exec(ctx, sql); err != nil {
				return err
			}
		}
		return fill(ctx, conn, docs())
	})
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// fill writes docs as the projections' role.
func fill(ctx context.Context, conn *pgx.Conn, docs []projections.Document) error {
	b := &pgx.Batch{}
	b.Queue("set local role prelude_proj")
	for _, d := range docs {
		tags := d.Tags
		if tags == nil {
			tags = []string{}
		}
		b.Queue(put, d.Org, d.ID, d.Owner, d.Scope, d.Status, d.Language, tags, d.Name, d.Description,
			d.Instructions, d.UpdatedAt, d.Deleted, int64(d.Position))
	}
	return conn.SendBatch(ctx, b).Close()
}

// asked is a question to preset_search_find as the server asks it.
type asked struct {
	org, q, user, scope, language, status string
	tags                                  []string
	offset                                int
}

func (a asked) find(t *testing.T, conn *pgx.Conn) []finding {
	t.Helper()
	return a.run(t, conn, `select id, coalesce(name_highlight, ''), coalesce(description_highlight, '')
		from views_1.preset_search_find($1, $2, $3, $4, $5, $6, 10, $7)`,
		a.q, a.user, a.tags, a.scope, a.language, a.status, a.offset)
}

func (a asked) facets(t *testing.T, conn *pgx.Conn) []finding {
	t.Helper()
	return a.run(t, conn, `select tag, hits::text, '' from
		views_1.preset_search_facets($1, $2, $3, $4, $5, 30)`, a.q, a.user, a.scope, a.language, a.status)
}

func (a asked) run(t *testing.T, conn *pgx.Conn, sql string, args ...any) []finding {
	t.Helper()
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(t.Context()) }()
	const who = "select set_config('role', 'prelude_app', true), set_config('app.org_id', $1, true)"
	if _, err := tx.Exec(t.Context(), who, a.org); err != nil {
		t.Fatal(err)
	}
	rows, err := tx.Query(t.Context(), sql, args...)
	if err != nil {
		t.Fatal(err)
	}
	found, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (f finding, err error) {
		err = r.Scan(&f.id, &f.name, &f.description)
		return f, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func names(found []finding) []string {
	ids := make([]string, len(found))
	for i, f := range found {
		ids[i] = f.id
	}
	return ids
}

func TestPostgresRelevance(t *testing.T) {
	t.Parallel()
	conn := filled(t, "relevance", func() []projections.Document {
		return append(distractors(1500), judged()...)
	})
	got := reciprocal(t, func(text string) []string {
		return names(asked{org: ours, user: ann, q: text}.find(t, conn))
	})
	t.Logf("mean reciprocal rank %.3f", got)
	if got < 0.85 {
		t.Errorf("mean reciprocal rank %.3f, want 0.85", got)
	}
}

func TestPostgresRights(t *testing.T) {
	t.Parallel()
	conn := filled(t, "rights", rightsCorpus)
	for _, q := range []string{"", "secret", "secr", "sekret", "%", `\`, "' or 1=1 --", "!&|():*"} {
		for _, f := range (asked{org: ours, user: ann, q: q}).find(t, conn) {
			if !visibleToAnn[f.id] {
				t.Errorf("%q finds %s", q, f.id)
			}
		}
	}
	t.Run("all that is hers is found", func(t *testing.T) {
		found := asked{org: ours, user: ann, q: "secret"}.find(t, conn)
		if len(found) != len(visibleToAnn) {
			t.Errorf("got %v", found)
		}
	})
	t.Run("without an org nothing is found", func(t *testing.T) {
		if found := (asked{user: ann, q: "secret"}).find(t, conn); len(found) > 0 {
			t.Errorf("got %v", found)
		}
		if found := (asked{user: ann}).facets(t, conn); len(found) > 0 {
			t.Errorf("got %v", found)
		}
	})
	t.Run("facets count no others", func(t *testing.T) {
		found := asked{org: ours, user: ann, q: "secret"}.facets(t, conn)
		if len(found) != 1 || found[0] != (finding{id: "seen", name: "2"}) {
			t.Errorf("got %v", found)
		}
	})
	t.Run("the app has no other way to the table", func(t *testing.T) {
		for _, sql := range []string{
			"select * from views_1.preset_search",
			"select * from views_1.preset_search_match('" + theirs + "', '', 'secret', '', '', '')",
		} {
			_, err := conn.Exec(t.Context(), "begin; set local role prelude_app; "+sql)
			if err == nil || !strings.Contains(err.Error(), "42501") {
				t.Errorf("%s: got %v", sql, err)
			}
			if _, err := conn.Exec(t.Context(), "rollback"); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("a temporary table of the same name is not looked at", func(t *testing.T) {
		tx, err := conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = tx.Rollback(t.Context()) }()
		const trap = `create temp table preset_search (like views_1.preset_search) on commit drop;
			set local app.org_id = '` + ours + `'`
		if _, err := tx.Exec(t.Context(), trap); err != nil {
			t.Fatal(err)
		}
		var n int
		const count = `select count(*) from
			views_1.preset_search_find('secret', '', '{}', '', '', '', 10, 0)`
		if err := tx.QueryRow(t.Context(), count).Scan(&n); err != nil || n == 0 {
			t.Errorf("got %d, %v", n, err)
		}
	})
}

func TestPostgresFilters(t *testing.T) {
	t.Parallel()
	conn := filled(t, "filters", judged)
	for _, c := range []struct {
		name string
		ask  asked
		want int // 10 is a full page
	}{
		{"one tag", asked{tags: []string{"code"}}, 4},
		{"both tags", asked{tags: []string{"code", "testing"}}, 1},
		{"a tag and words", asked{q: "author", tags: []string{"testing"}}, 1},
		{"a language", asked{language: "de"}, 2},
		{"a language and words", asked{q: "kündigung vertrag übersetzer", language: "de"}, 1},
		{"a status that none has", asked{status: "draft"}, 0},
		{"a scope that none has", asked{q: "code", scope: "user"}, 0},
		{"the newest first", asked{}, 10},
		{"the last page", asked{offset: 35}, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.ask.org, c.ask.user = ours, ann
			if found := c.ask.find(t, conn); len(found) != c.want {
				t.Errorf("got %v, want %d", found, c.want)
			}
		})
	}
}

func TestPostgresHighlights(t *testing.T) {
	t.Parallel()
	conn := filled(t, "highlights", func() []projections.Document {
		return []projections.Document{preset(1, `Résumé & "CV" <b>polisher\ue000</b>`,
			"Polishing 'it' <script>alert(1)</script>", "")}
	})
	found := asked{org: ours, user: ann, q: "resume polish"}.find(t, conn)
	if len(found) != 1 {
		t.Fatalf("got %v", found)
	}
	for _, text := range []string{found[0].name, found[0].description} {
		bare := strings.NewReplacer("<mark>", "", "</mark>", "").Replace(text)
		if strings.ContainsAny(bare, "<>\"'\ue000") || !strings.Contains(text, "<mark>") {
			t.Errorf("got %s", text)
		}
	}
	if !strings.Contains(found[0].name, "<mark>Résumé</mark> &amp;") {
		t.Errorf("got %s", found[0].name)
	}
}
