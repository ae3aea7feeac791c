package eventlog

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var release = flag.String("release", "", "write released.txt for this release")

// unreleased stands in released.txt for the release, before the first.
const unreleased = "none"

// released gives the last release and the names of it.
func released(text string) (tag string, names []string) {
	for line := range strings.Lines(text) {
		switch line = strings.TrimSpace(line); {
		case line == "" || line[0] == '#':
		case strings.HasPrefix(line, "release "):
			tag = strings.TrimPrefix(line, "release ")
		default:
			names = append(names, line)
		}
	}
	return tag, names
}

// early lists the names that may not be written yet, and those that are gone.
func early(all []named, text string) (tooEarly, gone []string) {
	tag, known := released(text)
	if tag == unreleased {
		return nil, nil
	}
	var here []string
	for _, n := range all {
		here = append(here, n.name)
		if !bool(n.unwritten) && !slices.Contains(known, n.name) {
			tooEarly = append(tooEarly, n.name)
		}
	}
	for _, n := range known {
		if _, old := upcasts[n]; !old && !slices.Contains(here, n) {
			gone = append(gone, n)
		}
	}
	return tooEarly, gone
}

// outdated says what is wrong with released.txt beside the release tags of git; empty: nothing. The commit that is to be
// tagged names a release that is none yet: as long as it holds the names of now, nothing is written that it cannot read.
func outdated(text, newest string, tags, now []string) string {
	tag, known := released(text)
	switch {
	case tag == "":
		return "released.txt names no release"
	case newest == "" || tag == newest:
		return ""
	case tag == unreleased || slices.Contains(tags, tag):
		return fmt.Sprintf("the newest release is %s, and released.txt is of %s: at that tag run make released "+
			"RELEASE=%[1]s, and take the file from there", newest, tag)
	case !slices.Equal(known, now):
		return fmt.Sprintf("released.txt is of %s, which is no tag here, and the names have changed since: tag it, or "+
			"at %s run make released RELEASE=%[2]s, and take the file from there", tag, newest)
	}
	return ""
}

// gitTags gives the release tags of a checkout, v and what follows, and of those that lead to what is checked out the
// newest. Both are empty where there are none, or dir is not the top of a checkout.
func gitTags(t *testing.T, dir string) (newest string, tags []string) {
	t.Helper()
	git := func(args ...string) (string, error) {
		out, err := gitIn(t, dir, args...).Output()
		return strings.TrimSpace(string(out)), err
	}
	top, err := git("rev-parse", "--show-cdup")
	if err != nil || top != "" {
		t.Logf("release tags are not looked at: %s is not the top of a checkout (%q, %v)", dir, top, err)
		return "", nil
	}
	list := func(args ...string) []string {
		out, err := git(append([]string{"tag", "--list", "v*"}, args...)...)
		if err != nil {
			t.Fatalf("git tag %v: %v", args, err)
		}
		return strings.Fields(out)
	}
	noteTags(t, dir, git)
	if tags = list(); len(tags) == 0 || len(list("--merged", "HEAD")) == 0 {
		return "", tags
	}
	if newest, err = git("describe", "--tags", "--abbrev=0", "--match", "v*", "HEAD"); err != nil {
		t.Fatalf("git describe: %v", err)
	}
	return newest, tags
}

// gitIn is git for a folder, whichever the repository whose hook may have started the test.
func gitIn(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "GIT_") })
	return cmd
}

// noteTags looks at the files in which tags are kept: go test keeps what a test has found until a file changes that it
// looked at, and of what git looks at it does not know.
func noteTags(t *testing.T, dir string, git func(...string) (string, error)) {
	t.Helper()
	common, err := git("rev-parse", "--git-common-dir")
	if err != nil {
		t.Fatalf("git rev-parse: %v", err)
	}
	if !filepath.IsAbs(common) {
		common = filepath.Join(dir, common)
	}
	for _, name := range []string{"packed-refs", "refs/tags"} {
		if _, err := os.Stat(filepath.Join(common, name)); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
}

func TestReleased_names_alone_are_written(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("released.txt")
	if err != nil {
		t.Fatal(err)
	}
	if *release != "" {
		first, _, _ := strings.Cut(string(text), "\n")
		lines := append([]string{first, "release " + *release}, Names()...)
		text = []byte(strings.Join(lines, "\n") + "\n")
		if err := os.WriteFile("released.txt", text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	newest, tags := gitTags(t, filepath.Join("..", ".."))
	if fault := outdated(string(text), newest, tags, Names()); fault != "" {
		t.Error(fault)
	}
	tooEarly, gone := early(names, string(text))
	for _, n := range tooEarly {
		t.Errorf("%s is written, and the last release cannot read it: mark it unwritten until the next", n)
	}
	for _, n := range gone {
		t.Errorf("%s was stored once and is not registered any more", n)
	}
}

func TestEarly(t *testing.T) {
	t.Parallel()
	all := []named{{name: "a.v1"}, {name: "b.v1"}, {name: "c.v1", unwritten: true}}
	for _, c := range []struct{ text, tooEarly, gone string }{
		{"# none\nrelease none\n", "", ""},
		{"release v1\na.v1\nb.v1\n", "", ""},
		{"release v1\na.v1\n", "b.v1", ""},
		{"release v1\na.v1\nb.v1\nd.v1\n", "", "d.v1"},
	} {
		tooEarly, gone := early(all, c.text)
		if strings.Join(tooEarly, " ") != c.tooEarly || strings.Join(gone, " ") != c.gone {
			t.Errorf("%q: too early %v, gone %v", c.text, tooEarly, gone)
		}
	}
}

func TestOutdated(t *testing.T) {
	t.Parallel()
	tags, now := []string{"v1.0.0", "v1.1.0", "v2.0.0"}, []string{"a.v1", "b.v1"} // v2 is on another branch
	for _, c := range []struct{ what, text, newest, want string }{
		{"there is no release", "release none\n", "", ""},
		{"it names none", "a.v1\n", "", "names no release"},
		{"a release was made and not noted", "release none\n", "v1.1.0",
			"is v1.1.0, and released.txt is of none: at that tag run make released RELEASE=v1.1.0,"},
		{"the newest is noted", "release v1.1.0\na.v1\n", "v1.1.0", ""},
		{"one before it is noted", "release v1.0.0\na.v1\nb.v1\n", "v1.1.0", "make released RELEASE=v1.1.0"},
		{"one of another branch is noted", "release v2.0.0\na.v1\nb.v1\n", "v1.1.0", "make released RELEASE=v1.1.0"},
		{"the next is being made", "release v1.2.0\na.v1\nb.v1\n", "v1.1.0", ""},
		{"the next was never tagged, and work went on", "release v1.2.0\na.v1\n", "v1.1.0", "tag it"},
	} {
		got := outdated(c.text, c.newest, tags, now)
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
}

func TestGitTags(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("there is no git")
	}
	dir := t.TempDir()
	git := func(args ...string) {
		t.Helper()
		all := append([]string{"-c", "user.name=t", "-c", "user.email=t@localhost",
			"-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false"}, args...)
		if out, err := gitIn(t, dir, all...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	expect := func(what, newest string, count int) {
		t.Helper()
		if got, tags := gitTags(t, dir); got != newest || len(tags) != count {
			t.Errorf("%s: the newest of %v is %q, want %q of %d", what, tags, got, newest, count)
		}
	}
	expect("no checkout", "", 0)
	git("init", "-q", "-b", "main")
	expect("no commit", "", 0)
	git("commit", "-q", "--allow-empty", "-m", "one")
	git("tag", "nightly")
	expect("no release", "", 0)
	git("tag", "v1.9.0")
	git("commit", "-q", "--allow-empty", "-m", "two")
	expect("one release", "v1.9.0", 1)
	git("tag", "-a", "-m", "ten", "v1.10.0")
	git("switch", "-q", "-c", "other", "v1.9.0")
	expect("before the second", "v1.9.0", 2)
	git("switch", "-q", "main")
	git("pack-refs", "--all")
	expect("two releases", "v1.10.0", 2)
	git("switch", "-q", "--orphan", "apart")
	git("commit", "-q", "--allow-empty", "-m", "apart")
	expect("none leads here", "", 2)
}
