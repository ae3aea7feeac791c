// Package prelude_test holds the tree of folders against its own rules: which package may import which, and
// what a file and a package look like.
package prelude_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "prelude"

// arrow says what packages may import of this module. A pattern that ends in /… means the folders below.
type arrow struct {
	from string
	to   []string
	why  string
}

// arrows are all that is allowed. Who has no arrow imports nothing of the module.
var arrows = []arrow{
	{"domain/…", []string{"domain"}, "ids, refusals, secrets and hashes are one language"},
	{"domain/preset", []string{"domain/receipt"}, "settings and token counts are a request's"},
	{"domain/session", []string{"domain/receipt", "domain/preset"},
		"a turn holds its receipt, and refers to presets"},
	{"domain/completion", []string{"domain/receipt", "domain/preset", "domain/session"},
		"a completion is a turn without a session: it ends as a session's reply does"},
	{"internal/eventlog", []string{"domain", "domain/…"}, "the registry names every event"},
	{"internal/authz", []string{"domain"}, "roles and refusals"},
	{"commands", []string{"domain", "domain/…", "internal/eventlog", "internal/authz"},
		"load, ask whether the caller may, decide, append"},
	{"projections", []string{"domain", "domain/…", "internal/eventlog"}, "events become rows"},
	{"readmodels", []string{"domain", "domain/…", "internal/eventlog", "internal/authz"},
		"rows, and folds as of a time, for who may see them"},
	{"internal/api", []string{"commands", "readmodels", "domain", "domain/…", "internal/eventlog",
		"internal/authn", "internal/api/docs"}, "HTTP turns requests into commands and questions"},
	{"internal/esnode", []string{"internal/eventlog", "internal/newfile", "internal/filelock"}, "the node keeps what the log's port says"},
	{"internal/eventstore", []string{"internal/eventlog"}, "it implements the log's port"},
	{"internal/vault", []string{"domain", "internal/eventlog", "internal/newfile"}, "it implements the log's port to keys"},
	{"internal/llm", []string{"domain", "domain/…", "commands"}, "it implements commands' port to models"},
	{"internal/search", []string{"domain", "projections", "readmodels"},
		"it implements the port that fills the index and the one that asks it"},
	{"internal/bus", []string{"domain", "internal/eventlog"}, "it passes records on"},
	{"internal/authn", []string{"domain"}, "a token becomes a principal"},
	{"internal/postgres", []string{"domain", "commands", "internal/eventlog"}, "it implements commands' port to snapshots"},
	{"internal/pgserver", []string{"internal/filelock"}, "one server has a folder"},
	{"internal/filelock", nil, "a file is all it knows"},
	{"internal/newfile", nil, "a file is all it knows"},
	{"migrations", nil, "SQL only"},
	{"cmd/…", []string{"…"}, "the only code that knows every part"},
}

// clientModule speaks to event stores: only these packages know of it, the node of its protocol alone.
const clientModule = "github.com/EventStore/EventStore-Client-Go/"

var clientUsers = map[string]string{
	"internal/eventstore": clientModule,
	// It plays a store, so it speaks the store's messages; tests alone import it.
	"internal/eventstore/storetest": clientModule + "v4/protos/",
	"internal/esnode":               clientModule + "v4/protos/",
	"test/conformance":              clientModule,
	"test/conformance/wire":         clientModule + "v4/protos/",
}

// impure are the packages of the standard library that the domain does without: they bring in a clock,
// chance, cancellation or the outside world. Of time it may use values, but not ask what time it is.
var impure = []string{"context", "log", "log/slog", "math/rand", "math/rand/v2", "crypto/rand", "net",
	"net/http", "os", "os/exec", "io/fs", "database/sql", "syscall", "unsafe", "runtime", "sync"}

// clocks are the functions of package time that ask or wait.
var clocks = []string{"Now", "Since", "Until", "After", "AfterFunc", "NewTicker", "NewTimer", "Sleep", "Tick"}

// goFile is one file of the module.
type goFile struct {
	path   string // from the module's root, with slashes
	folder string
	test   bool // part of a test: by its name, or by its package's
	syntax *ast.File
}

func (f goFile) imports() []string {
	all := make([]string, 0, len(f.syntax.Imports))
	for _, i := range f.syntax.Imports {
		all = append(all, strings.Trim(i.Path.Value, `"`))
	}
	return all
}

// testOnly says whether a folder is there for tests alone.
func testOnly(folder string) bool {
	return folder == "test" || strings.HasPrefix(folder, "test/") || strings.HasSuffix(folder, "test")
}

// files parses all Go files of the module, as mode says. It asks the disk and not the go command, whose
// answers a cached test would not see change.
func files(t *testing.T, mode parser.Mode) []goFile {
	t.Helper()
	var all []goFile
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && path != "." && (name[0] == '.' || name == "node_modules" || name == "testdata") {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(name) != ".go" {
			return nil
		}
		syntax, err := parser.ParseFile(token.NewFileSet(), path, nil, mode|parser.SkipObjectResolution)
		folder := filepath.ToSlash(filepath.Dir(path))
		all = append(all, goFile{filepath.ToSlash(path), folder,
			strings.HasSuffix(name, "_test.go") || testOnly(folder), syntax})
		return err
	})
	if err != nil || len(all) == 0 {
		t.Fatalf("%d files: %v", len(all), err)
	}
	return all
}

func matches(pattern, folder string) bool {
	below, ok := strings.CutSuffix(pattern, "…")
	return folder == pattern || ok && strings.HasPrefix(folder, below)
}

func mayImport(from, to string) bool {
	for _, a := range arrows {
		if !matches(a.from, from) {
			continue
		}
		if slices.ContainsFunc(a.to, func(p string) bool { return matches(p, to) }) {
			return true
		}
	}
	return false
}

func TestImportsFollowTheArrows(t *testing.T) {
	t.Parallel()
	for _, f := range files(t, parser.ImportsOnly) {
		for _, path := range f.imports() {
			to, ours := strings.CutPrefix(path, module+"/")
			switch {
			case !ours || f.test && !strings.HasPrefix(to, "cmd/"):
			case strings.HasPrefix(to, "cmd/"):
				t.Errorf("%s imports %s: nothing imports a program", f.path, to)
			case testOnly(to):
				t.Errorf("%s imports %s, which is for tests", f.path, to)
			case to == "internal/api/docs" && f.folder != "internal/api":
				t.Errorf("%s imports %s, which is the API's own", f.path, to)
			case !mayImport(f.folder, to):
				t.Errorf("%s imports %s: no arrow leads there", f.path, to)
			}
		}
	}
}

func TestWhatNoArrowAllows(t *testing.T) {
	t.Parallel()
	for _, c := range [][2]string{
		{"domain", "domain/preset"}, {"domain/preset", "domain/session"}, {"domain/org", "domain/user"},
		{"domain/preset", "internal/eventlog"}, {"internal/eventlog", "internal/vault"},
		{"commands", "internal/eventstore"}, {"commands", "internal/postgres"}, {"projections", "commands"},
		{"projections", "internal/authz"}, {"readmodels", "internal/search"}, {"internal/api", "projections"},
		{"internal/api", "internal/authz"}, {"internal/llm", "internal/eventlog"}, {"anything", "domain"},
	} {
		if mayImport(c[0], c[1]) {
			t.Errorf("an arrow leads from %s to %s", c[0], c[1])
		}
	}
	for _, c := range [][2]string{{"cmd/prelude", "internal/esnode"}, {"commands", "domain"},
		{"commands", "domain/claim"}, {"domain/completion", "domain/session"}} {
		if !mayImport(c[0], c[1]) {
			t.Errorf("no arrow leads from %s to %s", c[0], c[1])
		}
	}
}

// TestEachArrowHasItsPackages: a rule about what is not there any more says nothing.
func TestEachArrowHasItsPackages(t *testing.T) {
	t.Parallel()
	all := files(t, parser.ImportsOnly)
	for _, a := range arrows {
		if a.why == "" {
			t.Errorf("the arrow from %s has no reason", a.from)
		}
		if !slices.ContainsFunc(all, func(f goFile) bool { return matches(a.from, f.folder) }) {
			t.Errorf("the arrow from %s begins nowhere", a.from)
		}
	}
}

// TestTheThreeRoomsDoNotKnowEachOther: changes, views and questions share tables and events, not code.
func TestTheThreeRoomsDoNotKnowEachOther(t *testing.T) {
	t.Parallel()
	rooms := []string{"commands", "projections", "readmodels"}
	for _, from := range rooms {
		for _, to := range rooms {
			if from != to && mayImport(from, to) {
				t.Errorf("an arrow leads from %s to %s", from, to)
			}
		}
	}
}

func TestOnlyTheGuardAndTheNodeKnowTheClient(t *testing.T) {
	t.Parallel()
	for _, f := range files(t, parser.ImportsOnly) {
		for _, path := range f.imports() {
			if !strings.HasPrefix(path, clientModule) {
				continue
			}
			// The tests of the two drive the real client, also against the node.
			allowed, ok := clientUsers[f.folder]
			if !ok || !f.test && !strings.HasPrefix(path, allowed) {
				t.Errorf("%s imports %s", f.path, path)
			}
		}
	}
}

func TestTheDomainIsPure(t *testing.T) {
	t.Parallel()
	for _, f := range files(t, parser.Mode(0)) {
		if f.test || f.folder != "domain" && !strings.HasPrefix(f.folder, "domain/") {
			continue
		}
		for _, path := range f.imports() {
			first, _, _ := strings.Cut(path, "/")
			if first != module && strings.Contains(first, ".") || slices.Contains(impure, path) {
				t.Errorf("%s imports %s", f.path, path)
			}
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				pkg, _ := sel.X.(*ast.Ident)
				if pkg != nil && pkg.Name == "time" && slices.Contains(clocks, sel.Sel.Name) {
					t.Errorf("%s asks time.%s", f.path, sel.Sel.Name)
				}
			}
			return true
		})
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	t.Parallel()
	said := map[string]bool{}
	for _, f := range files(t, parser.PackageClauseOnly|parser.ParseComments) {
		inside := !strings.HasSuffix(f.syntax.Name.Name, "_test")
		if !inside && f.folder != "." && !strings.HasPrefix(f.folder, "test") {
			continue // the outside tests of a package say nothing for it
		}
		said[f.folder] = said[f.folder] || f.syntax.Doc != nil && len(f.syntax.Doc.Text()) > 40
	}
	for folder, ok := range said {
		if !ok {
			t.Errorf("%s has no package comment", folder)
		}
	}
}

func TestPackagesAreNouns(t *testing.T) {
	t.Parallel()
	empty := []string{"util", "utils", "common", "helper", "helpers", "shared", "types", "models", "misc"}
	for _, f := range files(t, parser.PackageClauseOnly) {
		name := strings.TrimSuffix(f.syntax.Name.Name, "_test")
		if slices.Contains(empty, name) || slices.Contains(empty, filepath.Base(f.folder)) {
			t.Errorf("%s: the name %s says nothing", f.path, name)
		}
	}
}

// long are files of more than 400 lines, each with its reason.
var long = map[string]string{}

func TestFilesAreShort(t *testing.T) {
	t.Parallel()
	const most = 400
	for _, f := range files(t, parser.PackageClauseOnly|parser.ParseComments) {
		b, err := os.ReadFile(f.path)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Count(string(b), "\n")
		reason, listed := long[f.path]
		switch {
		case lines > most && !ast.IsGenerated(f.syntax) && reason == "":
			t.Errorf("%s has %d lines", f.path, lines)
		case lines <= most && listed:
			t.Errorf("%s has %d lines: it needs no exception", f.path, lines)
		}
	}
}
