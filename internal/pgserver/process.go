package pgserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// pause is how often what cannot be waited for is looked at.
const pause = 20 * time.Millisecond

// process is a postmaster: a child of ours, or one that was found running.
type process struct {
	pid   int
	gone  chan struct{}
	leave func() // ends the watching of one that was found
}

// spawn starts a postmaster in a session of its own: a Ctrl-C in the terminal is for Prelude, which
// stops the server after its own work. It may outlive a killed Prelude; the next one takes it over.
// (A death signal would not do: the kernel sends it when the thread that started the child ends.)
func (s *Server) spawn(out *os.File) (*process, error) {
	folders := []string{s.data(), s.sock.path}
	cmd, done, err := s.acct.command(context.Background(), s.bin.path("postgres"), folders, s.args)
	if err != nil {
		return nil, err
	}
	defer done()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setsid = true
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start postgres: %w", err)
	}
	p := &process{pid: cmd.Process.Pid, gone: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(p.gone)
	}()
	return p, nil
}

func (s *Server) args(paths []string) []string {
	args := []string{"-D", paths[0]}
	settings := []string{
		"listen_addresses=", "port=" + port, "unix_socket_directories=" + paths[1],
		"unix_socket_permissions=0700", "fsync=on", "synchronous_commit=on", "full_page_writes=on",
		"logging_collector=off", "log_destination=stderr", "lc_messages=C",
		"timezone=UTC", "log_timezone=UTC",
	}
	for _, setting := range append(settings, s.cfg.Settings...) {
		args = append(args, "-c", setting)
	}
	return args
}

// watchFound watches a postmaster that is not our child, until it is gone or left.
func watchFound(pid int) *process {
	ctx, leave := context.WithCancel(context.Background())
	p := &process{pid: pid, gone: make(chan struct{}), leave: leave}
	go func() {
		tick := time.NewTicker(5 * pause)
		defer tick.Stop()
		for isPostmaster(pid) {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
		close(p.gone)
	}()
	return p
}

// stop ends the postmaster and waits for its end: it has its patience to stop as "fast" does, and a quarter of
// that for each of the harder ways.
func (p *process) stop(patience time.Duration) error {
	waits := []time.Duration{patience, patience / 4, patience / 4}
	for i, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGKILL} {
		select {
		case <-p.gone:
			return nil
		default:
		}
		if err := syscall.Kill(p.pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stop postgres: %w", err)
		}
		select {
		case <-p.gone:
			return nil
		case <-time.After(waits[i]):
		}
	}
	return fmt.Errorf("postgres (process %d) does not end", p.pid)
}

// running reads the postmaster's own note of its process; 0 if there is none or it is not alive.
func (s *Server) running() int {
	text, err := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || pid <= 1 || !isPostmaster(pid) {
		return 0
	}
	return pid
}

// isPostmaster says whether a process lives and, where /proc tells, is a Postgres and no zombie:
// after the restart of a container the number may be anybody's.
func isPostmaster(pid int) bool {
	if err := syscall.Kill(pid, 0); err != nil && !errors.Is(err, syscall.EPERM) {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return !errors.Is(err, os.ErrNotExist) || !procMounted()
	}
	// "<pid> (<name>) <state> …"
	name, rest, _ := bytes.Cut(stat, []byte(") "))
	return bytes.HasSuffix(name, []byte("(postgres")) && !bytes.HasPrefix(rest, []byte("Z"))
}

func procMounted() bool {
	_, err := os.Stat("/proc/self/stat")
	return err == nil
}

// answers asks the server behind the socket for a connection.
func (k socket) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := pgconn.Connect(ctx, k.dsn("postgres"))
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

// ready waits until the server answers. It has as long as ctx gives: after a crash it may have much
// log to replay.
func (s *Server) ready(ctx context.Context, p *process) error {
	for {
		err := s.sock.answers(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.gone:
			return errors.New("postgres ended")
		case <-ctx.Done():
			return fmt.Errorf("postgres does not answer: %w", errors.Join(ctx.Err(), err))
		case <-time.After(pause):
		}
	}
}

// openLog opens the server's log to append to, and says where its new part begins.
func (s *Server) openLog() (*os.File, int64, error) {
	const most = 16 << 20
	if info, err := os.Stat(s.logPath()); err == nil && info.Size() > most {
		_ = os.Rename(s.logPath(), s.logPath()+".1")
	}
	f, err := os.OpenFile(s.logPath(), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return nil, 0, fmt.Errorf("open the log of postgres: %w", err)
	}
	at, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		_ = f.Close()
		return nil, 0, fmt.Errorf("open the log of postgres: %w", err)
	}
	return f, at, nil
}

// logSince reads the end of what the server wrote after a place in its log.
func logSince(f *os.File, at int64) string {
	const most = 8 << 10
	if info, err := f.Stat(); err == nil {
		at = max(at, info.Size()-most)
	}
	text, _ := io.ReadAll(io.NewSectionReader(f, at, most))
	return lastLines(string(text), 10)
}
