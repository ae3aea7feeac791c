package eventlog_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"prelude/domain/apikey"
	"prelude/domain/claim"
	"prelude/domain/completion"
	"prelude/domain/org"
	"prelude/domain/preset"
	"prelude/domain/session"
	"prelude/domain/user"
	"prelude/internal/eventlog"
)

// TestEveryEventOfTheDomainIsRegistered: an event is a type with a method that ends in Event and does
// nothing; one without a name could not be stored.
func TestEveryEventOfTheDomainIsRegistered(t *testing.T) {
	t.Parallel()
	registered := map[string]bool{}
	for _, name := range eventlog.Names() {
		registered[typeOf(t, name).String()] = true
	}
	files, err := filepath.Glob("../../domain/*/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("the domain has %d files: %v", len(files), err)
	}
	for _, event := range eventsIn(t, files) {
		if !registered[event] {
			t.Errorf("%s is not registered", event)
		}
	}
}

func eventsIn(t *testing.T, files []string) []string {
	t.Helper()
	var all []string
	for _, path := range files {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if ok && fn.Recv != nil && strings.HasSuffix(fn.Name.Name, "Event") && len(fn.Body.List) == 0 {
				all = append(all, fmt.Sprintf("%s.%s", f.Name, fn.Recv.List[0].Type))
			}
		}
	}
	return all
}

// evolve folds an event onto nothing, and says whether that left anything.
func evolve(t *testing.T, event any) bool {
	t.Helper()
	left := func(after any) bool { return !reflect.ValueOf(after).IsZero() }
	switch e := event.(type) {
	case org.Event:
		return left(org.Org{}.Evolve(e))
	case user.Event:
		return left(user.User{}.Evolve(e))
	case apikey.Event:
		return left(apikey.Key{}.Evolve(e))
	case claim.Event:
		return left(claim.Claim{}.Evolve(e))
	case preset.Event:
		return left(preset.Preset{}.Evolve(e))
	case session.Event:
		return left(session.Session{}.Evolve(e))
	case completion.Event:
		return left(completion.Completion{}.Evolve(e))
	}
	t.Fatalf("%T belongs to no aggregate", event)
	return false
}

// TestEveryEventIsFolded: each event that is registered leaves something in its aggregate's state.
func TestEveryEventIsFolded(t *testing.T) {
	t.Parallel()
	leavesNothing := map[string]string{
		"log.identified.v1":            "the log itself has no aggregate",
		"session.context_assembled.v1": "a receipt is read where it is asked for, no decision rests on it",
		"preset.restored.v1":           "it takes a deletion away; that it does is tested in its package",
		"session.restored.v1":          "it takes a deletion away; that it does is tested in its package",
	}
	for _, name := range eventlog.Names() {
		if name == "log.identified.v1" {
			continue
		}
		e := event(t, name)
		if !evolve(t, e) && leavesNothing[name] == "" {
			t.Errorf("%s is not folded", name)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	names := eventlog.Names()
	if len(slices.Compact(slices.Sorted(slices.Values(names)))) != len(names) {
		t.Error("a name is registered twice")
	}
	names[0] = "changed"
	if diff := cmp.Diff("log.identified.v1", eventlog.Names()[0]); diff != "" {
		t.Error("who was given the names can change the registry")
	}
}
