package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"prelude/internal/pgserver/pgtest"
)

const operations = "../../docs/operations.md"

// service is what stands for the machine's own way to start and stop a server. A stop has to be a clean end.
const service = `
trap 'echo "the document stops at: $BASH_COMMAND" >&2' ERR
systemctl() {
  test "$2" = prelude
  case $1 in
    start)
      .bin/prelude serve --dev-env >>serve.out 2>&1 &
      server=$!
      until curl -fsS "http://$PRELUDE_LISTEN/readyz" >/dev/null 2>&1; do
        kill -0 "$server" || { cat serve.out >&2; return 1; }
        sleep 0.1
      done ;;
    stop) kill "$server"; wait "$server" ;;
    *) return 1 ;;
  esac
}
`

// fence begins or ends a block of the document, and says what is in it.
var fence = regexp.MustCompile("(?m)^```(.*)$")

// commandsOf are the lines of all blocks that are run. What is not run has to say that it is text or of a console.
func commandsOf(t *testing.T, text string) string {
	t.Helper()
	var lines strings.Builder
	for i, m := range fence.FindAllStringSubmatch(text, -1) {
		if kind := m[1]; i%2 == 0 && kind != "sh" && kind != "text" && kind != "console" {
			t.Errorf("a block is %q: neither run nor marked as one that is not", kind)
		}
	}
	for _, block := range shellBlock.FindAllStringSubmatch(text, -1) {
		lines.WriteString(block[1])
	}
	return lines.String()
}

// TestOperations runs the lines of the operators' document one after another in a shell, each and in the order in
// which they stand there. Ports are free ones instead of those that it names.
func TestOperations(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(operations)
	if err != nil {
		t.Fatal(err)
	}
	lines := commandsOf(t, string(text))
	for _, port := range []string{"2113", "2114", "8081"} {
		if !strings.Contains(lines, ":"+port) {
			t.Errorf("the port %s is not in the lines", port)
		}
		lines = strings.ReplaceAll(lines, ":"+port, freeAddress(t)[len("127.0.0.1"):])
	}
	dir := t.TempDir()
	asItself(t, filepath.Join(dir, ".bin", "prelude"))
	forNode(t, dir)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-Eeuo", "pipefail", "-c", service+lines)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PRELUDE_DATA=.prelude", "PRELUDE_LISTEN="+freeAddress(t), "DATABASE_URL="+pgtest.Database(t))
	// What a line that failed leaves running ends with the shell.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	t.Cleanup(func() {
		if cmd.Process != nil {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // mostly nobody is left
		}
	})
	out := &buffer{}
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = out, out, time.Second
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	contains(t, out.String(), "each record was checked", " keys, for the log up to position ", " 0 problems",
		"the log's new id is ", "; 0 were not there", "the database was of another log and is of this one now",
		", 0 differences", "rights  version 1", "views, version 1, is built", "there are no versions before this program's",
		" events removed", `"withheld":"erased"`, "user.erased", "retention_days 365", " is a new one", "digest of the target ",
		`"status":"ready"`, "the store refuses the user or the password of PRELUDE_EVENTSTORE", `"handle":"bea"`,
		"ok     event store's rights: it may read $all, append, read streams, read streams' metadata")
}

// freeAddress is an address on loopback that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }() // nobody came
	return l.Addr().String()
}

// forNode puts there what the operator of a node has: two certificates for loopback with their keys, and a password.
func forNode(t *testing.T, dir string) {
	t.Helper()
	files := map[string][]byte{"node.password": []byte(strings.ToLower(rand.Text()) + "\n")}
	files["node.crt"], files["node.key"] = certificate(t)
	files["new.crt"], files["new.key"] = certificate(t)
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// certificate makes a certificate for loopback that is its own authority, and its key, in PEM.
func certificate(t *testing.T) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	signed, err := x509.CreateCertificate(rand.Reader, c, c, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
}

// TestOperationsTellsOfEveryAlarm: each line that is logged as a warning or an error is in the operators' document.
func TestOperationsTellsOfEveryAlarm(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(operations)
	if err != nil {
		t.Fatal(err)
	}
	alarms := alarmsOf(t, "../..")
	if len(alarms) < 25 {
		t.Errorf("only %d alarms are found: %q", len(alarms), alarms)
	}
	for _, alarm := range alarms {
		// Of a long one the document has the first sentence.
		if first, _, _ := strings.Cut(alarm, ":"); !strings.Contains(string(text), "`"+first) {
			t.Errorf("nothing tells what this means: %s", alarm)
		}
	}
}

// alarmsOf are the constant texts that the program below a folder logs as warnings and errors.
func alarmsOf(t *testing.T, root string) (alarms []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && len(d.Name()) > 2 && d.Name()[0] == '.':
			return fs.SkipDir // it holds no code of ours
		case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if text, ok := alarm(n); ok {
				alarms = append(alarms, text)
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return alarms
}

var loggers = regexp.MustCompile(`^([lL]ogger|log)$`)

// alarm is the text of a call such as s.logger.Warn("…"), or its beginning.
func alarm(n ast.Node) (string, bool) {
	call, ok := n.(*ast.CallExpr)
	if !ok || len(call.Args) == 0 {
		return "", false
	}
	fun, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return "", false
	}
	at := 0
	switch fun.Sel.Name {
	case "Warn", "Error":
	case "WarnContext", "ErrorContext":
		at = 1
	default:
		return "", false
	}
	logger := ""
	switch x := fun.X.(type) {
	case *ast.SelectorExpr:
		logger = x.Sel.Name
	case *ast.Ident:
		logger = x.Name
	}
	if !loggers.MatchString(logger) || len(call.Args) <= at {
		return "", false
	}
	e := call.Args[at]
	for {
		sum, ok := e.(*ast.BinaryExpr)
		if !ok {
			break
		}
		e = sum.X
	}
	lit, ok := e.(*ast.BasicLit)
	if !ok {
		return "", false
	}
	text, err := strconv.Unquote(lit.Value)
	return text, err == nil
}
