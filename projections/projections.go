// Package projections turns the log into what is asked for: Postgres tables, the search index, and messages
// for analytics. A projection only writes. It refuses nothing, calls nothing outside its transaction, and
// cannot know whether it sees today's events or last year's again.
package projections

import (
	"context"
	_ "embed" // the tables
	"fmt"

	"github.com/jackc/pgx/v5"

	"prelude/internal/eventlog"
)

// The readers and the versions of what they keep. Another version means other tables, built from the log.
const (
	Rights        = "rights"
	Views         = "views"
	IndexReader   = "index"
	Out           = "out"
	RightsVersion = 1
	ViewsVersion  = 1
	IndexVersion  = 1
	OutVersion    = 1
)

// The schemas of this program's versions.
const (
	RightsSchema = "rights_1"
	ViewsSchema  = "views_1"
)

var (
	//go:embed rights.sql
	rightsSQL string
	//go:embed views.sql
	viewsSQL string
	//go:embed search.sql
	searchSQL string
	//go:embed wall.sql
	wallSQL string
)

// Build lists the SQL that makes the readers' schemas where they are missing. It is run as their owner.
func Build() []string {
	return []string{
		schema(RightsSchema, rightsSQL+wallSQL),
		schema(ViewsSchema, viewsSQL+searchSQL+wallSQL),
	}
}

// schema is one statement that makes a schema with what is in it, if it is not there.
func schema(name, body string) string {
	return fmt.Sprintf(`DO $build$ BEGIN
IF to_regnamespace('%[1]s') IS NULL THEN
  CREATE SCHEMA %[1]s;
  GRANT USAGE ON SCHEMA %[1]s TO prelude_app, prelude_proj, prelude_login;
  SET LOCAL search_path = %[1]s, public;
  EXECUTE $sql$ %[2]s $sql$;
  SET LOCAL search_path = public;
END IF;
END $build$`, name, body)
}

// Drop is the SQL that takes away all that the readers keep; their checkpoints go with it.
func Drop() []string {
	return []string{
		"DROP SCHEMA IF EXISTS " + RightsSchema + " CASCADE",
		"DROP SCHEMA IF EXISTS " + ViewsSchema + " CASCADE",
		`DELETE FROM prelude.checkpoints WHERE reader IN ('rights', 'views', 'index')`,
		`DELETE FROM prelude.parked WHERE reader IN ('rights', 'views', 'index')`,
	}
}

// Reader is one projection: what it wants to see, and what it does with it.
type Reader struct {
	Name     string
	Version  int
	Prefixes []string // of the streams it wants
	Types    []string // of preset- streams it wants only these, where it names any
	Parks    bool     // an event that cannot be applied parks its stream; else it stops the reader
	// Apply writes the effect of a batch within tx. It gets every event at least once, in order.
	Apply func(ctx context.Context, tx pgx.Tx, batch []eventlog.Record) error
	// Start is asked before the reader follows; anew says that what it kept is gone and all must come again.
	Start func(ctx context.Context) (anew bool, err error)
	// Before runs outside the transaction, before Apply, and may be repeated.
	Before func(ctx context.Context, batch []eventlog.Record) error
}
