package esnode

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// call is one of a process's calls that change files.
type call struct {
	when      string
	name      string
	path, to  string
	at        int64
	data      []byte
	truncates bool
}

// straced runs TestRecorded under strace and gives its calls on a folder, in their order, with its
// acknowledgements among them.
func straced(t *testing.T, dir string, env ...string) []call {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		unable(t, "strace is not installed: apt-get install strace")
	}
	out := t.TempDir()
	cmd := exec.CommandContext(t.Context(), strace, "-ff", "-y", "-xx", "-s", "100000000",
		"--absolute-timestamps=format:unix,precision:ns", "-o", filepath.Join(out, "trace"),
		"-e", "trace=?open,openat,write,pwrite64,fsync,fdatasync,ftruncate,?rename,?renameat,renameat2,?unlink,unlinkat",
		os.Args[0], "-test.run=^TestRecorded$")
	cmd.Env = append(append(os.Environ(), "ESNODE_TEST_RECORDED="+dir, "GOCOVERDIR="+out), env...)
	if text, err := cmd.CombinedOutput(); err != nil {
		if strings.Contains(string(text), "ptrace") {
			unable(t, "strace may not look at processes here: %s", text)
		}
		t.Fatalf("%v\n%s", err, text)
	}
	traces, err := filepath.Glob(filepath.Join(out, "trace.*"))
	if err != nil {
		t.Fatal(err)
	}
	var all []call
	for _, name := range traces {
		calls, err := parseTrace(name, dir)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, calls...)
	}
	// Each thread has its own file; the times are those of the calls' beginnings.
	slices.SortStableFunc(all, func(a, b call) int { return cmp.Compare(a.when, b.when) })
	if len(all) < 200 {
		t.Fatalf("only %d calls were recorded", len(all))
	}
	// write says no place: it goes on where the file's last one ended.
	ends := map[string]int64{}
	for i := range all {
		switch c := &all[i]; {
		case c.name == "open":
			ends[c.path] = 0
		case c.name == "write" && c.at < 0:
			c.at = ends[c.path]
			ends[c.path] += int64(len(c.data))
		}
	}
	return all
}

var (
	traced = regexp.MustCompile(`^(\d+\.\d+) (\w+)\((.*)\) += (-?\d+)`)
	quoted = regexp.MustCompile(`"((?:\\x[0-9a-f]{2})*)"`)
	onFile = regexp.MustCompile(`^(\d+)<([^>]*)>`)
)

func parseTrace(file, dir string) (calls []call, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<28)
	for lines.Scan() {
		m := traced.FindStringSubmatch(lines.Text())
		if m == nil || strings.HasPrefix(m[4], "-") {
			continue
		}
		c, ok, err := parseCall(m[2], m[3], dir)
		if err != nil {
			return nil, fmt.Errorf("%.200s: %w", lines.Text(), err)
		}
		if ok {
			c.when = m[1]
			calls = append(calls, c)
		}
	}
	return calls, lines.Err()
}

func parseCall(name, args, dir string) (c call, ok bool, err error) {
	var texts []string
	for _, m := range quoted.FindAllStringSubmatch(args, -1) {
		text, err := unhex(m[1])
		if err != nil {
			return c, false, err
		}
		texts = append(texts, text)
	}
	fd := ""
	if m := onFile.FindStringSubmatch(args); m != nil {
		fd = m[1]
		if c.path, err = unhex(m[2]); err != nil {
			return c, false, err
		}
	}
	if name == "write" && fd == "1" {
		c.name = "acknowledge"
		_, err := fmt.Sscanf(texts[0], "acknowledged %d\n", &c.at)
		return c, err == nil, nil
	}
	numbers := strings.Split(args, ", ")
	last, numberErr := strconv.ParseInt(numbers[len(numbers)-1], 10, 64)
	switch name {
	case "open", "openat":
		c.name, c.path = "open", texts[0]
		c.truncates = strings.Contains(args, "O_TRUNC")
		ok = strings.Contains(args, "O_CREAT")
	case "write":
		c.name, c.data, c.at, ok = "write", []byte(texts[0]), -1, true
	case "pwrite64":
		c.name, c.data, c.at, ok, err = "write", []byte(texts[0]), last, true, numberErr
	case "ftruncate":
		c.name, c.at, ok, err = "truncate", last, true, numberErr
	case "fsync", "fdatasync":
		c.name, ok = "sync", true
	case "rename", "renameat", "renameat2":
		if c.name, ok = "rename", len(texts) == 2; ok {
			c.path, c.to = texts[0], texts[1]
		}
	case "unlink", "unlinkat":
		c.name, c.path, ok = "unlink", texts[0], true
	}
	return c, ok && kept(c.path, dir), err
}

// kept says whether a path is the folder, or one of its files that matter: what SQLite shares
// between processes it makes anew after a crash, and the lock holds nothing.
func kept(path, dir string) bool {
	base := filepath.Base(path)
	return path == dir || filepath.Dir(path) == dir && strings.HasPrefix(base, logFile) && !strings.HasSuffix(base, "-shm")
}

var errEscape = errors.New("no escaped bytes")

// unhex takes strace's \x61\x62 apart; what has no escape is as it is.
func unhex(s string) (string, error) {
	if !strings.HasPrefix(s, `\x`) {
		return s, nil
	}
	b := make([]byte, 0, len(s)/4)
	for i := 0; i < len(s); i += 4 {
		if i+4 > len(s) || s[i:i+2] != `\x` {
			return "", errEscape
		}
		n, err := strconv.ParseUint(s[i+2:i+4], 16, 8)
		if err != nil {
			return "", err
		}
		b = append(b, byte(n))
	}
	return string(b), nil
}
