package main

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// storeClient is where the sentences about an event store are written.
const storeClient = "../../internal/eventstore"

// TestOperationsTellsOfEveryReason: what is said of an event store that cannot be used is in the table of the operators'
// document, word for word, and the table has no sentence that nobody says.
func TestOperationsTellsOfEveryReason(t *testing.T) {
	t.Parallel()
	table := section(t, "**What is wrong with an event store**", "\nWhat is wrong with the address itself")
	whole, parts := reasonsOf(t, storeClient)
	if len(whole) < 22 || len(parts) < 8 {
		t.Errorf("only %d sentences and %d parts of some are found: %q %q", len(whole), len(parts), whole, parts)
	}
	said := quotesIn(table, "It says")
	for _, reason := range whole {
		if !slices.Contains(said, reason) {
			t.Errorf("nothing tells what to do about: %s", reason)
		}
	}
	for _, part := range parts {
		if !slices.ContainsFunc(said, func(s string) bool { return strings.Contains(s, part) }) {
			t.Errorf("nothing tells what to do about a file of which is said that it %s", part)
		}
	}
	for _, s := range said {
		if !slices.Contains(whole, s) && !slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(s, part) }) {
			t.Errorf("nobody says: %s", s)
		}
	}
}

// TestOperationsTellsOfEveryOption: the table of an address's options has those that an address takes, and no others.
func TestOperationsTellsOfEveryOption(t *testing.T) {
	t.Parallel()
	var taken []string
	ast.Inspect(parsed(t, filepath.Join(storeClient, "address.go")), func(n ast.Node) bool {
		f, ok := n.(*ast.FuncDecl)
		if ok && f.Name.Name == "option" {
			taken = casesOf(f)
		}
		return !ok
	})
	taken = slices.DeleteFunc(taken, func(name string) bool { return name == "maxdiscoverattempts" }) // it is refused
	var told []string
	for _, name := range quotesIn(section(t, "| Option |", "\n\n"), "Option") {
		told = append(told, strings.ToLower(name))
	}
	same(t, told, taken)
}

// TestOperationsTellsOfEveryRight: the table of rights has each that the doctor tries, in its words.
func TestOperationsTellsOfEveryRight(t *testing.T) {
	t.Parallel()
	var tried []string
	ast.Inspect(parsed(t, filepath.Join(storeClient, "examine.go")), func(n ast.Node) bool {
		if list, ok := n.(*ast.CompositeLit); ok && list.Type == nil && len(list.Elts) == 2 {
			if what := pieces(list.Elts[0]); len(what) == 1 {
				tried = append(tried, "it may not "+what[0])
			}
		}
		return true
	})
	if len(tried) < 4 {
		t.Errorf("only these are found: %q", tried)
	}
	same(t, quotesIn(section(t, "| `doctor` says |", "\n\n"), "`doctor` says"), tried)
}

// TestOperationsRequestsAreJSON: what an operator sends to a store is JSON.
func TestOperationsRequestsAreJSON(t *testing.T) {
	t.Parallel()
	bodies := regexp.MustCompile(`(?s)-d '(.*?)'`).FindAllStringSubmatch(section(t, "### The least rights", "\n### "), -1)
	if len(bodies) != 3 {
		t.Errorf("there are %d requests", len(bodies))
	}
	for _, body := range bodies {
		if !json.Valid([]byte(body[1])) {
			t.Errorf("this is no JSON: %s", body[1])
		}
	}
}

// section is the operators' document from a text to the next that ends it.
func section(t *testing.T, from, to string) string {
	t.Helper()
	text, err := os.ReadFile(operations)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), from)
	part, _, ended := strings.Cut(rest, to)
	if !found || !ended {
		t.Fatalf("the document has nothing from %q to %q", from, to)
	}
	return from + part
}

var quoted = regexp.MustCompile("`([^`]+)`")

// quotesIn are the texts between backticks in the first column of a table, without its head.
func quotesIn(table, head string) (all []string) {
	for line := range strings.Lines(table) {
		column, found := strings.CutPrefix(line, "| ")
		column, _, _ = strings.Cut(column, " |")
		if !found || column == head {
			continue
		}
		for _, m := range quoted.FindAllStringSubmatch(column, -1) {
			all = append(all, m[1])
		}
	}
	return all
}

func same(t *testing.T, told, is []string) {
	t.Helper()
	slices.Sort(told)
	slices.Sort(is)
	if !slices.Equal(told, is) {
		t.Errorf("the document has %q, the program %q", told, is)
	}
}

func parsed(t *testing.T, path string) *ast.File {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// reasonsOf are the sentences that a package gives as the Text of a Reason, as an operator reads them; and the constant
// parts of those that have the name of a file in them.
func reasonsOf(t *testing.T, dir string) (whole, parts []string) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	fragments := map[string]bool{}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		ast.Inspect(parsed(t, path), func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.KeyValueExpr:
				if key, ok := n.Key.(*ast.Ident); !ok || key.Name != "Text" {
					return true
				}
				if constant(n.Value) {
					whole = append(whole, strings.ReplaceAll(strings.Join(pieces(n.Value), ""), "%s", "PRELUDE_EVENTSTORE"))
				}
			case *ast.CallExpr:
				sentence, part := spoken(n, filepath.Base(path))
				if sentence != "" {
					whole = append(whole, sentence)
				}
				for _, p := range part {
					fragments[p] = true
				}
			}
			return true
		})
	}
	return whole, slices.Sorted(maps.Keys(fragments))
}

// spoken is what a call adds to the sentences: answers("…") one of its own, and in the file about TLS the calls
// bad("…"), readFile("…") and errors.New("…") parts of those about a file.
func spoken(call *ast.CallExpr, file string) (sentence string, parts []string) {
	if len(call.Args) == 0 {
		return "", nil
	}
	name := ""
	switch f := call.Fun.(type) {
	case *ast.Ident:
		name = f.Name
	case *ast.SelectorExpr:
		name = f.Sel.Name
	}
	switch {
	case name == "answers" && constant(call.Args[0]):
		return "what answers at the event store's address speaks " + strings.Join(pieces(call.Args[0]), ""), nil
	case file == "tls.go" && (name == "bad" || name == "readFile" || name == "New"):
		if sprintf, ok := call.Args[0].(*ast.CallExpr); ok { // of a number
			for _, p := range pieces(sprintf.Args[0]) {
				parts = append(parts, strings.ReplaceAll(p, "%d", "…"))
			}
			return "", parts
		}
		return "", pieces(call.Args[0])
	}
	return "", nil
}

// pieces are the constant texts of a sum.
func pieces(e ast.Expr) []string {
	switch e := e.(type) {
	case *ast.BinaryExpr:
		return append(pieces(e.X), pieces(e.Y)...)
	case *ast.BasicLit:
		if text, err := strconv.Unquote(e.Value); err == nil && e.Kind == token.STRING {
			return []string{text}
		}
	}
	return nil
}

// constant says whether a sum is of constant texts alone.
func constant(e ast.Expr) bool {
	if sum, ok := e.(*ast.BinaryExpr); ok {
		return constant(sum.X) && constant(sum.Y)
	}
	_, ok := e.(*ast.BasicLit)
	return ok
}

// casesOf are the texts that a function's switch tells apart.
func casesOf(f *ast.FuncDecl) (all []string) {
	ast.Inspect(f, func(n ast.Node) bool {
		if c, ok := n.(*ast.CaseClause); ok {
			for _, e := range c.List {
				all = append(all, pieces(e)...)
			}
		}
		return true
	})
	return all
}
