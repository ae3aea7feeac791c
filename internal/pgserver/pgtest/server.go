package pgtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"prelude/internal/pgserver"
)

// variable marks the process that keeps the server. It is this test binary once more, so that the
// server is stopped and its folder removed even when the tests are killed; the end of its standard
// input tells. It also keeps the server's goroutines out of the tests' own process.
const variable = "PRELUDE_PGTEST_KEEPER"

func init() {
	if os.Getenv(variable) == "" {
		return
	}
	if err := keep(); err != nil {
		fmt.Println("ERROR " + strings.ReplaceAll(err.Error(), "\n", " | "))
		os.Exit(1)
	}
	os.Exit(0)
}

// launch starts the keeper and returns the DSN that it prints.
func launch() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	in, hold, err := os.Pipe()
	if err != nil {
		return "", err
	}
	answer, out, err := os.Pipe()
	if err != nil {
		return "", err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), variable+"=1")
	cmd.Stdin, cmd.Stdout = in, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	_, _ = in.Close(), out.Close()
	line, err := bufio.NewReader(answer).ReadString('\n')
	if dsn, ok := strings.CutPrefix(strings.TrimSpace(line), "READY "); ok {
		held = hold
		return dsn, nil
	}
	return "", errors.Join(errors.New(strings.TrimSpace(line)), err)
}

// held is the open end of the keeper's standard input; it must not be collected.
var held *os.File //nolint:unused // it is there to be kept

func keep() error {
	dir, err := os.MkdirTemp("", "prelude-pg-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := startCopy(ctx, dir)
	if err != nil {
		return err
	}
	fmt.Println("READY " + s.DSN("postgres"))
	_, _ = io.Copy(io.Discard, os.Stdin)
	return s.Close()
}

// startCopy starts a server on a copy of a cluster that was made once per user, which takes a tenth
// of the time that making one does. If that one is no good (of another version, or half swept
// away), it is made anew.
func startCopy(ctx context.Context, dir string) (*pgserver.Server, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = dir
	}
	made := filepath.Join(cache, "prelude", "pgtest")
	s, err := startFrom(ctx, made, dir, false)
	if err == nil {
		return s, nil
	}
	if err := os.RemoveAll(filepath.Join(dir, "data")); err != nil {
		return nil, err
	}
	return startFrom(ctx, made, dir, true)
}

func startFrom(ctx context.Context, made, dir string, anew bool) (*pgserver.Server, error) {
	if err := makeCluster(ctx, made, anew); err != nil {
		return nil, fmt.Errorf("make the cluster that is copied: %w", err)
	}
	cp := exec.CommandContext(ctx, "cp", "-Rp", filepath.Join(made, "data"), dir)
	if out, err := cp.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("copy the cluster: %w: %s", err, out)
	}
	return start(ctx, dir)
}

// makeCluster sees to it that there is a cluster in dir. Test processes that run at once wait for
// the one that makes it; data appears whole, and is not written to again.
func makeCluster(ctx context.Context, dir string, anew bool) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	lock, err := os.OpenFile(dir+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	data := filepath.Join(dir, "data")
	if _, err := os.Stat(data); err == nil && !anew {
		return nil
	}
	fresh := filepath.Join(dir, "fresh")
	if err := errors.Join(os.RemoveAll(fresh), os.RemoveAll(data)); err != nil {
		return err
	}
	s, err := start(ctx, fresh)
	if err != nil {
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	return os.Rename(filepath.Join(fresh, "data"), data)
}

func start(ctx context.Context, dir string) (*pgserver.Server, error) {
	return pgserver.Start(ctx, pgserver.Config{Dir: dir, Settings: []string{
		"fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=300",
		"max_wal_size=4GB", "checkpoint_timeout=1h",
	}})
}
