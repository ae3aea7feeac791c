package prelude_test

import (
	"go/ast"
	"go/parser"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"prelude/internal/eventlog"
)

// leastNames is how many functions the walks name at least: a walk that names none cannot be followed.
const leastNames = 15

var (
	codeSpan = regexp.MustCompile("`([^`\n]+)`")
	heading  = regexp.MustCompile(`(?m)^#{1,6} .*$`)
	// spelled is pkg.Func or pkg.Type.Method, with or without parentheses.
	spelled = regexp.MustCompile(`^([a-z][a-z0-9]*)\.([A-Za-z]\w*)(?:\.([A-Za-z]\w*))?(?:\(\))?$`)
)

// TestTheWalksNameRealFunctions: each function that a walk of ARCHITECTURE.md names exists.
func TestTheWalksNameRealFunctions(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	walks := walksOf(string(text))
	if len(walks) < 3 {
		t.Errorf("there are %d walks: sections whose heading holds the word walk", len(walks))
	}
	there, packages := functions(t)
	var named []string
	for _, walk := range walks {
		for _, span := range codeSpan.FindAllStringSubmatch(walk, -1) {
			m := spelled.FindStringSubmatch(span[1])
			if m == nil || !packages[m[1]] {
				continue // a file, a route, a stored name, another module's
			}
			name := strings.TrimSuffix(span[1], "()")
			if isEvent(name) {
				continue
			}
			if !there[name] {
				t.Errorf("there is no %s", name)
			}
			if !slices.Contains(named, name) {
				named = append(named, name)
			}
		}
	}
	if len(named) < leastNames {
		t.Errorf("the walks name %d functions, want at least %d: %v", len(named), leastNames, named)
	}
}

// isEvent says whether a name is that of a stored event, with its version or without.
func isEvent(name string) bool {
	return slices.ContainsFunc(eventlog.Names(), func(stored string) bool {
		return stored == name || strings.HasPrefix(stored, name+".v")
	})
}

// walksOf gives the sections whose heading holds the word walk, each with all below it.
func walksOf(text string) []string {
	var walks []string
	at := heading.FindAllStringIndex(text, -1)
	for i := 0; i < len(at); i++ {
		title := text[at[i][0]:at[i][1]]
		if !strings.Contains(strings.ToLower(title), "walk") {
			continue
		}
		end := i + 1
		for end < len(at) && level(text[at[end][0]:]) > level(title) {
			end++
		}
		stop := len(text)
		if end < len(at) {
			stop = at[end][0]
		}
		// A heading over all walks is none itself: those below it are.
		if section := text[at[i][1]:stop]; !heading.MatchString(section) {
			walks = append(walks, section)
		} else if below := walksBelow(section); len(below) > 0 {
			walks, i = append(walks, below...), end-1
		}
	}
	return walks
}

func TestWalksAreFoundByTheirHeadings(t *testing.T) {
	t.Parallel()
	const text = "# House\nintro `a.B`\n## Three walks\nover all\n### A message\none\n### An edit\ntwo\n" +
		"## Rules\nno\n## A walk through a rebuild\nthree\n"
	want := []string{"\none\n", "\ntwo\n", "\nthree\n"}
	if got := walksOf(text); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for span, want := range map[string]bool{"commands.transact": true, "commands.Presets.Publish": true,
		"eventlog.Decode()": true, "domain/preset": false, "GET /v1": false, "preset.created.v1": true} {
		if got := spelled.MatchString(span); got != want {
			t.Errorf("%q is spelled as a function: %t", span, got)
		}
	}
	if !isEvent("preset.created.v1") || !isEvent("preset.created") || isEvent("preset.create") {
		t.Error("a stored event's name is not told from a function's")
	}
}

func walksBelow(section string) []string {
	at := heading.FindAllStringIndex(section, -1)
	var walks []string
	for i := range at {
		stop := len(section)
		if i+1 < len(at) {
			stop = at[i+1][0]
		}
		walks = append(walks, section[at[i][1]:stop])
	}
	return walks
}

func level(s string) int { return len(s) - len(strings.TrimLeft(s, "#")) }

// functions are the functions and methods of the module, as pkg.Func and pkg.Type.Method, by the names of
// folders; and those names. Types are there too: a walk may name what is passed on.
func functions(t *testing.T) (there, packages map[string]bool) {
	t.Helper()
	there, packages = map[string]bool{}, map[string]bool{}
	for _, f := range files(t, parser.Mode(0)) {
		if strings.HasSuffix(f.path, "_test.go") {
			continue
		}
		pkg := path.Base(f.folder)
		packages[pkg] = true
		for _, d := range f.syntax.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				there[pkg+"."+receiver(d)+d.Name.Name] = true
			case *ast.GenDecl:
				for _, s := range d.Specs {
					if s, ok := s.(*ast.TypeSpec); ok {
						add(there, pkg, s)
					}
				}
			}
		}
	}
	return there, packages
}

// add notes a type, and the methods of an interface.
func add(there map[string]bool, pkg string, s *ast.TypeSpec) {
	there[pkg+"."+s.Name.Name] = true
	if i, ok := s.Type.(*ast.InterfaceType); ok {
		for _, m := range i.Methods.List {
			for _, name := range m.Names {
				there[pkg+"."+s.Name.Name+"."+name.Name] = true
			}
		}
	}
}

// receiver is the type of a method's receiver and a dot; nothing for a function.
func receiver(d *ast.FuncDecl) string {
	if d.Recv == nil {
		return ""
	}
	e := d.Recv.List[0].Type
	for {
		switch x := e.(type) {
		case *ast.StarExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.IndexListExpr:
			e = x.X
		case *ast.Ident:
			return x.Name + "."
		default:
			return ""
		}
	}
}
