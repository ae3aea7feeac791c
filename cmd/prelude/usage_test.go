package main

import (
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// TestUsage runs command lines that ask for help, and some that are not understood.
func TestUsage(t *testing.T) {
	t.Parallel()
	for line, c := range map[string]struct {
		code int
		says string
	}{
		"--help":                          {0, "Commands:"},
		"serve --help":                    {0, "--listen"},
		"version":                         {0, "dev"},
		"":                                {2, "prelude: expected one of"},
		"sevre":                           {2, "prelude: unexpected argument sevre"},
		"serve --lisen 127.0.0.1:0":       {2, "prelude: unknown flag --lisen"},
		"org create":                      {2, "prelude: expected \"<slug>\""},
		"serve --listen nowhere":          {1, "prelude: PRELUDE_LISTEN must be host:port"},
		"rebuild --data /nowhere/at/all":  {1, "--yes drops what is built"},
		"rebuild --yes=maybe --data /dev": {1, "prelude: PRELUDE_REBUILD_YES must be yes or no"},
	} {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0], strings.Fields(line)...)
			cmd.Env = append(os.Environ(), asProgram+"=1")
			out, _ := cmd.CombinedOutput()
			text := string(out)
			if got := cmd.ProcessState.ExitCode(); got != c.code || !strings.Contains(text, c.says) {
				t.Errorf("exit %d:\n%s", got, text)
			}
			if c.code != 0 && strings.Count(text, "\n") != 1 || c.code == 2 && !strings.HasSuffix(text, "see prelude --help\n") {
				t.Errorf("it is not one sentence:\n%s", text)
			}
		})
	}
}

// TestEveryFlag walks the command line: every flag has a variable and a help, and no two share a variable.
func TestEveryFlag(t *testing.T) {
	t.Parallel()
	parser, err := kong.New(&cli{})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	var walk func(n *kong.Node)
	walk = func(n *kong.Node) {
		for _, f := range n.Flags {
			if f.Name == "help" {
				continue // of kong
			}
			if len(f.Envs) != 1 || f.Help == "" {
				t.Errorf("%s --%s has the variables %v and the help %q", n.Name, f.Name, f.Envs, f.Help)
				continue
			}
			if other, twice := seen[f.Envs[0]]; twice {
				t.Errorf("--%s and --%s share %s", f.Name, other, f.Envs[0])
			}
			seen[f.Envs[0]] = f.Name
		}
		for _, child := range n.Children {
			walk(child)
		}
	}
	walk(parser.Model.Node)
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for variable := range seen {
		if !strings.Contains(string(readme), "`"+variable+"`") {
			t.Errorf("the README does not tell of %s", variable)
		}
	}
}

// TestAllFaults sets wrong variables of several kinds: all are told of at once.
func TestAllFaults(t *testing.T) {
	for name, value := range map[string]string{"PRELUDE_LISTEN": "x", "OPENAI_WINDOW_TOKENS": canary,
		"PRELUDE_EVENTSTORE": "foo", "PRELUDE_DEV_ENV": canary, "PRELUDE_INSTANCE": canary + " ",
		"DATABASE_POOL_URL": canary} {
		t.Setenv(name, value)
	}
	err := run(t.Context(), []string{"serve", "--data", t.TempDir()}, io.Discard, io.Discard)
	if err == nil {
		t.Fatal("it is taken")
	}
	for _, name := range []string{"PRELUDE_LISTEN", "OPENAI_WINDOW_TOKENS", "PRELUDE_EVENTSTORE", "PRELUDE_DEV_ENV",
		"PRELUDE_INSTANCE", "DATABASE_POOL_URL"} {
		if !strings.Contains(err.Error(), name+" ") {
			t.Errorf("%s is not told: %v", name, err)
		}
	}
	if strings.Contains(err.Error(), canary) {
		t.Errorf("a value comes back: %v", err)
	}
}
