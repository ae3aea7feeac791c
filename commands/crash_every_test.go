package commands

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"prelude/domain"
)

// ownKillTests are the tests of commands that are killed in none of the tables.
var ownKillTests = map[string]string{
	"APIKeys.Issue":   "TestIssue_killed_before_the_secret_was_shown",
	"Engine.Identify": "TestIdentify_killed_gives_the_log_one_id",
	"Engine.Own":      "TestOwn_killed_is_done_once",
}

// memories are methods that change what this process alone remembers: it dies with it.
var memories = []string{"Engine.Forget", "Engine.Seen"}

// reads are the methods that change nothing, with what is there: an org, a published preset and a reply under way.
func reads() map[string]func(r *rig, p domain.PresetID, b begun) error {
	who := by(olga).By
	orgs := func(r *rig) Orgs { return Orgs{Engine: r.Engine, MAC: mac} }
	name, _ := ParseName("tone")
	return map[string]func(r *rig, p domain.PresetID, b begun) error{
		"Engine.Resolve": func(r *rig, _ domain.PresetID, _ begun) error {
			_, err := r.Resolve(r.t.Context(), who, name)
			return err
		},
		"Orgs.Owner": func(r *rig, _ domain.PresetID, _ begun) error {
			_, _, err := orgs(r).Owner(r.t.Context(), "acme")
			return err
		},
		"Orgs.Policy": func(r *rig, _ domain.PresetID, _ begun) error {
			_, err := orgs(r).Policy(r.t.Context(), acme)
			return err
		},
		"Orgs.PolicyOf": func(r *rig, _ domain.PresetID, _ begun) error {
			_, err := orgs(r).PolicyOf(r.t.Context(), "acme")
			return err
		},
		"Presets.Render": func(r *rig, p domain.PresetID, _ begun) error {
			_, err := r.presets().Render(r.t.Context(), who, p, "v1", nil)
			return err
		},
		"Presets.ResolvePreset": func(r *rig, _ domain.PresetID, _ begun) error {
			_, err := r.presets().ResolvePreset(r.t.Context(), who, "tone")
			return err
		},
		"Presets.Usable": func(r *rig, p domain.PresetID, _ begun) error {
			_, err := r.presets().Usable(r.t.Context(), who, PresetArg{ID: p})
			return err
		},
		"Sessions.MadeBy": func(r *rig, _ domain.PresetID, b begun) error {
			_, _, err := r.sessions().MadeBy(r.t.Context(), who, b.session, b.reply)
			return err
		},
		"Sessions.Preview": func(r *rig, _ domain.PresetID, b begun) error {
			_, err := r.sessions().Preview(r.t.Context(), who, b.session)
			return err
		},
	}
}

// What no kill need be tried on writes nothing, and so leaves nothing half done.
func TestReads_write_nothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.at(noon)
	if _, err := (Orgs{Engine: r.Engine, MAC: mac}).Create(t.Context(), "acme", "Acme"); err != nil {
		t.Fatal(err)
	}
	p := r.create(olga, "tone")
	if _, err := r.presets().Publish(t.Context(), PublishPreset{Preset: p}, by(olga)); err != nil {
		t.Fatal(err)
	}
	b := r.underWay(r.session(olga))
	for name, read := range reads() {
		e, m := r.mortal(0, false)
		if err := read(e, p, b); err != nil || m.alive() != nil {
			t.Errorf("%s writes: %v; it says %v", name, m.alive() != nil, err)
		}
	}
	t.Logf("%d methods write nothing", len(reads()))
}

// Whoever adds a command adds it to a table of those that are killed, or gives it a test of its own.
func TestEvery_command_is_killed_in_a_test(t *testing.T) {
	t.Parallel()
	methods, tests := declared(t)
	killed := map[string]bool{}
	for _, c := range killables() {
		killed[c.of] = true
	}
	for _, c := range replies() {
		killed[c.of] = true
	}
	for m, test := range ownKillTests {
		if killed[m] = true; !tests[test] {
			t.Errorf("%s has no test %s", m, test)
		}
	}
	harmless := map[string]bool{}
	for _, m := range memories {
		harmless[m] = true
	}
	for m := range reads() {
		harmless[m] = true
	}
	for m := range methods {
		if killed[m] == harmless[m] {
			t.Errorf("%s is killed in a test: %v; it changes nothing: %v", m, killed[m], harmless[m])
		}
	}
	maps.Copy(killed, harmless)
	for m := range killed {
		if !methods[m] {
			t.Errorf("there is no method %s", m)
		}
	}
	t.Logf("%d methods of handlers, of which %d are killed", len(methods), len(methods)-len(harmless))
}

// declared are the exported methods of this package's engine and of the handlers that embed it, and the tests.
func declared(t *testing.T) (methods, tests map[string]bool) {
	t.Helper()
	paths, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	handlers := map[string]bool{"Engine": true}
	byReceiver := map[string][]string{}
	tests = map[string]bool{}
	for _, path := range paths {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		test := strings.HasSuffix(path, "_test.go")
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.TypeSpec:
				if !test && embedsEngine(n) {
					handlers[n.Name.Name] = true
				}
			case *ast.FuncDecl:
				if test {
					tests[n.Name.Name] = true
				} else if n.Recv != nil && n.Name.IsExported() {
					of := named(n.Recv.List[0].Type)
					byReceiver[of] = append(byReceiver[of], n.Name.Name)
				}
			}
			return true
		})
	}
	methods = map[string]bool{}
	for h := range handlers {
		for _, m := range byReceiver[h] {
			methods[h+"."+m] = true
		}
	}
	return methods, tests
}

func embedsEngine(t *ast.TypeSpec) bool {
	s, ok := t.Type.(*ast.StructType)
	return ok && slices.ContainsFunc(s.Fields.List, func(f *ast.Field) bool {
		return len(f.Names) == 0 && named(f.Type) == "Engine"
	})
}

// named is the name of a type, or of that to which it points.
func named(e ast.Expr) string {
	if p, ok := e.(*ast.StarExpr); ok {
		e = p.X
	}
	if id, ok := e.(*ast.Ident); ok {
		return id.Name
	}
	return ""
}
