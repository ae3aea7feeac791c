// Package projections turns the log into what is asked for: Postgres tables, the search index, and messages
// for analytics. A projection only writes. It refuses nothing, calls nothing outside its transaction, and
// cannot know whether it sees today's events or last year's again.
package projections

import (
	"context"
	_ "embed" // the tables
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"prelude/internal/eventlog"
)

// The readers, and the versions of what they keep. Another version means other tables, built from the log beside
// those of the version before; a version is spelled here and nowhere else.
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

// Kept are the readers whose tables lie in schemas of their own.
func Kept() []Reader { return []Reader{RightsReader(), ViewsReader()} }

// Build lists the SQL that makes the schemas of this program's versions where they are missing. It is run as their
// owner.
func Build() []string {
	var all []string
	for _, r := range Kept() {
		all = append(all, r.Build())
	}
	return all
}

// Schema is where the reader's tables of its version are.
func (r Reader) Schema() string {
	if r.aside != "" {
		return r.aside
	}
	return fmt.Sprintf("%s_%d", r.Name, r.Version)
}

// Build is the SQL that makes the reader's schema with what is in it, if it is not there.
func (r Reader) Build() string {
	return fmt.Sprintf(`DO $build$ BEGIN
IF to_regnamespace('%[1]s') IS NULL THEN
  CREATE SCHEMA %[1]s;
  GRANT USAGE ON SCHEMA %[1]s TO prelude_app, prelude_proj, prelude_login;
  SET LOCAL search_path = %[1]s, public;
  EXECUTE $sql$ %[2]s $sql$;
  SET LOCAL search_path = public;
END IF;
END $build$`, r.Schema(), r.tables+wallSQL)
}

// Drop is the SQL that takes away all that this program's versions keep; how far they were goes with it.
func Drop() []string {
	// What commands keep of long streams is of the log too, which may be another by now.
	all := append(forget(IndexReader, IndexVersion), "DELETE FROM prelude.snapshots")
	for _, r := range Kept() {
		all = append(all, r.Drop()...)
	}
	return all
}

// Drop is the SQL that takes away what the reader keeps in its version.
func (r Reader) Drop() []string {
	return append(forget(r.Name, r.Version), "DROP SCHEMA IF EXISTS "+r.Schema()+" CASCADE")
}

// forget is the SQL that takes away how far a reader is in a version.
func forget(reader string, version int) []string {
	var all []string
	for _, table := range []string{"checkpoints", "parked", "leases"} {
		all = append(all, fmt.Sprintf("DELETE FROM prelude.%s WHERE reader = '%s' AND version = %d",
			table, reader, version))
	}
	return all
}

// Reader is one projection: what it wants to see, and what it does with it.
type Reader struct {
	Name     string
	Version  int
	Prefixes []string // of the streams it wants
	Types    []string // of preset- streams it wants only these, where it names any
	Parks    bool     // an event that cannot be applied parks its stream; else it stops the reader
	// Apply writes the effect of a batch within tx, whose search path leads to the reader's schema. It gets every
	// event at least once, in order; one of an unknown name too, whose Event is nil.
	Apply func(ctx context.Context, tx pgx.Tx, batch []eventlog.Record) error
	// Founded says within tx which of some orgs, named as streams name them, the reader knows to be founded. An event
	// that cannot be applied does not stop the reader where its org is none of them: it is not of this installation.
	// Without it every such event stops a reader that does not park.
	Founded func(ctx context.Context, tx pgx.Tx, orgs []string) (map[string]bool, error)
	// Missing says, before Start makes it again, that what the reader keeps is gone, so that all must come again.
	Missing func(ctx context.Context) (bool, error)
	// Start is asked before the reader follows; anew says that what it kept is gone and all must come again.
	Start func(ctx context.Context) (anew bool, err error)
	// Before runs outside the transaction, before Apply, and may be repeated. It gets no event of an unknown name.
	Before func(ctx context.Context, batch []eventlog.Record) error
	// Forget takes away within tx what was made of a stream, so that all of it can be applied again. Without it
	// only what was parked comes again, marked as late.
	Forget func(ctx context.Context, tx pgx.Tx, s eventlog.Stream) error

	tables string // the SQL of its schema
	aside  string // the schema, where it is another than its version's
}

// wanted leaves out what the reader did not ask for.
func (r Reader) wanted(batch []eventlog.Record) []eventlog.Record {
	if r.Types == nil {
		return batch
	}
	kept := batch[:0]
	for _, rec := range batch {
		if rec.Stream.Category != eventlog.PresetCategory || slices.Contains(r.Types, rec.Kind()) {
			kept = append(kept, rec)
		}
	}
	return kept
}
