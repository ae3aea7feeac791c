package pgserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

var (
	// ErrNoBinaries: there is no folder with initdb and postgres of a version that Prelude can use.
	ErrNoBinaries = errors.New("there is no Postgres 15 or later on this machine: install it with " +
		"\"apt install postgresql\" or \"brew install postgresql@17\", or set DATABASE_URL")
	// ErrVersion: the data folder is that of a major version that is not installed.
	ErrVersion = errors.New("the data folder is of another major version")
)

// binaries is a folder with all that is needed of one Postgres.
type binaries struct {
	dir   string
	major int
}

func (b binaries) path(name string) string { return filepath.Join(b.dir, name) }

// oldest is the first major version that knows all that our SQL uses.
const oldest = 15

// places are patterns of folders where installers put binaries that are not in PATH.
var places = []string{
	"/usr/lib/postgresql/*/bin", "/usr/lib/postgresql*/bin", "/usr/libexec/postgresql*",
	"/usr/pgsql-*/bin", "/usr/local/pgsql/bin",
	"/opt/homebrew/opt/postgresql@*/bin", "/opt/homebrew/opt/postgresql/bin",
	"/usr/local/opt/postgresql@*/bin", "/usr/local/opt/postgresql/bin",
	"/Applications/Postgres.app/Contents/Versions/*/bin",
}

// findFor finds the binaries for a data folder: of its own major version if it exists, else the
// newest.
func findFor(ctx context.Context, bin, data string) (binaries, error) {
	want, err := majorOf(data)
	if err != nil {
		return binaries{}, err
	}
	dirs := []string{bin}
	if bin == "" {
		dirs = candidates()
	}
	var best binaries
	for _, dir := range dirs {
		b, ok := probe(ctx, dir)
		if ok && b.major == want {
			return b, nil
		}
		if ok && b.major > best.major {
			best = b
		}
	}
	switch {
	case best.major == 0:
		return binaries{}, ErrNoBinaries
	case want != 0:
		return binaries{}, fmt.Errorf("%w: %s was made by Postgres %d, and here is Postgres %d: "+
			"install version %d, or move the folder away. The read models are rebuilt from the log, but "+
			"the vault in it holds the keys without which no text can be read: dump it with version %d "+
			"first", ErrVersion, data, want, best.major, want, want)
	}
	return best, nil
}

// Found is what [Look] found.
type Found struct {
	Bin     string // the folder of the binaries
	Major   int    // their version
	Made    bool   // there is a data folder
	Running bool   // a server runs on it
}

// Look says what Start would start with, and changes nothing. Errors: ErrNoBinaries, ErrVersion.
func Look(ctx context.Context, cfg Config) (Found, error) {
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return Found{}, fmt.Errorf("resolve the data folder: %w", err)
	}
	s := &Server{cfg: Config{Dir: dir}}
	_, err = os.Stat(s.data())
	found := Found{Made: err == nil, Running: s.running() != 0}
	b, err := findFor(ctx, cfg.Bin, s.data())
	found.Bin, found.Major = b.dir, b.major
	return found, err
}

func candidates() []string {
	dirs := filepath.SplitList(os.Getenv("PATH"))
	for _, pattern := range places {
		found, _ := filepath.Glob(pattern)
		dirs = append(dirs, found...)
	}
	return dirs
}

// probe says whether dir has both binaries, and of which version. Distributions put wrappers of
// single programs into PATH, so one alone does not count.
func probe(ctx context.Context, dir string) (binaries, bool) {
	b := binaries{dir: dir}
	if dir == "" || !filepath.IsAbs(dir) {
		return b, false
	}
	for _, name := range []string{"initdb", "postgres"} {
		if info, err := os.Stat(b.path(name)); err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
			return b, false
		}
	}
	out, err := exec.CommandContext(ctx, b.path("postgres"), "--version").Output()
	if err != nil {
		return b, false
	}
	_, version, ok := strings.Cut(string(out), "(PostgreSQL) ")
	b.major = leadingNumber(version)
	return b, ok && b.major >= oldest
}

// majorOf reads the major version of a data folder; 0 if there is none yet.
func majorOf(data string) (int, error) {
	text, err := os.ReadFile(filepath.Join(data, "PG_VERSION"))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the data folder's version: %w", err)
	}
	return leadingNumber(string(text)), nil
}

func leadingNumber(s string) int {
	end := 0
	for end < len(s) && s[end] >= '0' && s[end] <= '9' {
		end++
	}
	n, _ := strconv.Atoi(s[:end])
	return n
}
