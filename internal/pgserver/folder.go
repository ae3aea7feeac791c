package pgserver

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"prelude/internal/filelock"
)

// ErrInUse: another Prelude runs the server of this folder.
var ErrInUse = errors.New("another prelude uses this data folder")

const port = "5432"

// takeLock makes dir, private, and holds its lock until the file is closed or this process ends.
func takeLock(dir string) (*filelock.Lock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the data folder: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a folder must be entered
		return nil, fmt.Errorf("make the data folder private: %w", err)
	}
	lock, err := filelock.Take(filepath.Join(dir, "lock"))
	if errors.Is(err, filelock.ErrTaken) {
		return nil, fmt.Errorf("%w: %s", ErrInUse, dir)
	}
	return lock, err
}

// socket is the folder of the socket. Its parent is ours alone, so that nobody else gets to it, not
// even another process of the account.
type socket struct{ path string }

// makeSocket makes the folder in cfg.SocketDir, in cfg.Dir, or if their names are longer than a
// socket's name may be, in a short one that is named after cfg.Dir.
func makeSocket(cfg Config, a *account) (socket, error) {
	parent := cfg.SocketDir
	if parent == "" {
		parent = cfg.Dir
	}
	if !fits(parent) {
		name := fmt.Sprintf("prelude-%x", sha256.Sum256([]byte(cfg.Dir)))[:24]
		if parent = filepath.Join(os.TempDir(), name); !fits(parent) {
			parent = filepath.Join("/tmp", name)
		}
	}
	if err := private(parent); err != nil {
		return socket{}, err
	}
	k := socket{filepath.Join(parent, "s")}
	if err := os.Mkdir(k.path, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return socket{}, fmt.Errorf("make the socket's folder: %w", err)
	}
	return k, a.give(k.path)
}

func fits(parent string) bool {
	limit := 107
	if runtime.GOOS == "darwin" {
		limit = 103
	}
	return len(filepath.Join(parent, "s", ".s.PGSQL."+port)) <= limit
}

// private makes dir, or sees to it that it is a folder of ours that nobody else may enter.
func private(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the socket's folder: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("look at the socket's folder: %w", err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("the folder %s for the socket is not ours: remove it", dir)
	}
	if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a folder must be entered
		return fmt.Errorf("make the socket's folder private: %w", err)
	}
	return nil
}

// ctypes are the names of a locale that knows the letters of all scripts, by system. The order of
// texts is C's everywhere.
var ctypes = []string{"C.UTF-8", "en_US.UTF-8", "UTF-8", "C"}

// create makes the data folder if there is none: aside, then renamed, so that there is a whole one
// or none.
func (s *Server) create(ctx context.Context) error {
	if _, err := os.Stat(s.data()); err == nil {
		return s.own()
	}
	fresh := s.data() + ".new"
	var err error
	for _, ctype := range ctypes {
		if err = s.initdb(ctx, fresh, ctype); err == nil || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return err
	}
	if err := os.Rename(fresh, s.data()); err != nil {
		return fmt.Errorf("put the data folder in place: %w", err)
	}
	s.cfg.Logger.Info("postgres data folder made", "path", s.data(), "version", s.bin.major)
	return nil
}

// own gives a folder that root put there, from a backup say, to the account.
func (s *Server) own() error {
	info, err := os.Stat(s.data())
	if err != nil {
		return fmt.Errorf("look at the data folder: %w", err)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); s.acct == nil || !ok || st.Uid != 0 {
		return nil
	}
	return s.acct.give(s.data())
}

const conf = `
# What Prelude starts with. Change it here; the socket, the durability and the locale are set by
# Prelude.
shared_buffers = 128MB
max_connections = 100
jit = off
`

func (s *Server) initdb(ctx context.Context, dir, ctype string) error {
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("clear the new data folder: %w", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("make the new data folder: %w", err)
	}
	if err := s.acct.give(dir); err != nil {
		return err
	}
	args := func(paths []string) []string {
		return []string{"--pgdata=" + paths[0], "--username=" + Superuser, "--encoding=UTF8",
			"--locale=C", "--lc-ctype=" + ctype, "--data-checksums", "--auth=trust",
			"--no-instructions"}
	}
	cmd, done, err := s.acct.command(ctx, s.bin.path("initdb"), []string{dir}, args)
	if err != nil {
		return err
	}
	defer done()
	cmd.WaitDelay = time.Second // its own children may hold its output open
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make a Postgres data folder: %w: %s", err, lastLines(string(out), 5))
	}
	return configure(dir)
}

func configure(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(conf)
		err = errors.Join(err, f.Close())
	}
	hba := filepath.Join(dir, "pg_hba.conf")
	if err == nil {
		err = os.WriteFile(hba, []byte("local all all trust\n"), 0o600)
	}
	if err != nil {
		return fmt.Errorf("configure Postgres: %w", err)
	}
	return nil
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
