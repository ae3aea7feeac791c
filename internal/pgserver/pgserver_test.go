package pgserver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
)

// victim makes the test binary a Prelude that waits to be killed.
const victim = "PRELUDE_PGSERVER_VICTIM"

func TestMain(m *testing.M) {
	if dir := os.Getenv(victim); dir != "" {
		if _, err := Start(context.Background(), Config{Dir: dir}); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("READY")
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func TestStart(t *testing.T) {
	t.Parallel()
	dir := privateDir(t)
	s := start(t, Config{Dir: dir})

	t.Run("sorts as C does, knows all letters, checks its pages, and syncs", func(t *testing.T) {
		const want = "C C.UTF-8 on on UTF8 "
		got := ask(t, s, `select concat_ws(' ', datcollate, datctype, current_setting('data_checksums'),
			current_setting('fsync'), pg_encoding_to_char(encoding), current_setting('listen_addresses'))
			from pg_database where datname = 'postgres'`)
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
	t.Run("a second one on the same folder is refused", func(t *testing.T) {
		if _, err := Start(t.Context(), Config{Dir: dir}); !errors.Is(err, ErrInUse) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("what is stored is there after a restart", func(t *testing.T) {
		ask(t, s, "create table notes as select 1; select 'made'")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if pid := s.running(); pid != 0 {
			t.Fatalf("process %d is still there", pid)
		}
		again := start(t, Config{Dir: dir})
		if got := ask(t, again, "select count(*)::text from notes"); got != "1" {
			t.Errorf("got %s rows", got)
		}
	})
}

func TestTakeOver(t *testing.T) {
	t.Parallel()
	t.Run("a killed prelude's server goes on under the next", func(t *testing.T) {
		t.Parallel()
		dir := privateDir(t)
		killed(t, dir)
		before := postmaster(t, dir)
		s := start(t, Config{Dir: dir})
		if s.proc.pid != before {
			t.Errorf("process %d was replaced by %d", before, s.proc.pid)
		}
		if err := s.Close(); err != nil || s.running() != 0 {
			t.Errorf("the one taken over was not stopped: %v", err)
		}
	})
	t.Run("a server that was killed with its prelude is started anew", func(t *testing.T) {
		t.Parallel()
		dir := privateDir(t)
		killed(t, dir)
		kill(t, postmaster(t, dir))
		ask(t, start(t, Config{Dir: dir}), "select ''")
	})
	t.Run("a server whose socket was cleared away is replaced", func(t *testing.T) {
		t.Parallel()
		dir := privateDir(t)
		killed(t, dir)
		before := postmaster(t, dir)
		if err := os.RemoveAll(filepath.Join(dir, "s")); err != nil {
			t.Fatal(err)
		}
		s := start(t, Config{Dir: dir})
		if s.proc.pid == before {
			t.Error("it was not replaced")
		}
	})
	t.Run("a server that is killed while we watch is started anew", func(t *testing.T) {
		t.Parallel()
		s := start(t, Config{Dir: privateDir(t)})
		before := s.running()
		kill(t, before)
		eventually(t, func() bool {
			pid := s.running()
			return pid != 0 && pid != before && s.sock.answers(t.Context()) == nil
		})
	})
	t.Run("the number of a dead server may be another process's by now", func(t *testing.T) {
		t.Parallel()
		s := start(t, Config{Dir: privateDir(t)})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		note := filepath.Join(s.data(), "postmaster.pid")
		if err := os.WriteFile(note, fmt.Appendf(nil, "%d\n", os.Getppid()), 0o600); err != nil {
			t.Fatal(err)
		}
		start(t, Config{Dir: s.cfg.Dir})
	})
}

func TestClose_stops_the_hard_way_what_does_nothing_any_more(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Dir: privateDir(t), Patience: 200 * time.Millisecond})
	ask(t, s, "create table notes as select 1; select 'made'")
	if err := syscall.Kill(s.running(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := s.Close(); err != nil || s.running() != 0 {
		t.Fatalf("process %d: %v", s.running(), err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
	if got := ask(t, start(t, Config{Dir: s.cfg.Dir}), "select count(*)::text from notes"); got != "1" {
		t.Errorf("got %s rows", got)
	}
}

func TestLook_tells_what_there_is_and_makes_nothing(t *testing.T) {
	t.Parallel()
	dir := privateDir(t)
	got, err := Look(t.Context(), Config{Dir: dir})
	if err != nil || got.Major < oldest || got.Bin == "" || got.Made || got.Running {
		t.Errorf("before the first start: %+v, %v", got, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("it made %v: %v", left, err)
	}
	s := start(t, Config{Dir: dir})
	if got, err = Look(t.Context(), Config{Dir: dir}); err != nil || !got.Made || !got.Running {
		t.Errorf("while it runs: %+v, %v", got, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err = Look(t.Context(), Config{Dir: dir}); err != nil || !got.Made || got.Running {
		t.Errorf("after its end: %+v, %v", got, err)
	}
	if _, err := Look(t.Context(), Config{Dir: dir, Bin: t.TempDir()}); !errors.Is(err, ErrNoBinaries) {
		t.Errorf("without binaries: %v", err)
	}
}

func TestFolders(t *testing.T) {
	t.Parallel()
	t.Run("a path that is too long for a socket gets a short one", func(t *testing.T) {
		t.Parallel()
		dir := filepath.Join(privateDir(t), strings.Repeat("long/", 30))
		s := start(t, Config{Dir: dir})
		t.Cleanup(func() { _ = os.RemoveAll(filepath.Dir(s.sock.path)) })
		if strings.HasPrefix(s.sock.path, dir) {
			t.Errorf("the socket is in %s", s.sock.path)
		}
		ask(t, s, "select ''")
	})
	t.Run("a folder for sockets that is another's is refused", func(t *testing.T) {
		t.Parallel()
		link := filepath.Join(privateDir(t), "link")
		if err := os.Symlink(t.TempDir(), link); err != nil {
			t.Fatal(err)
		}
		_, err := Start(t.Context(), Config{Dir: privateDir(t), SocketDir: link})
		if err == nil || !strings.Contains(err.Error(), "not ours") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a data folder that root put there is given to the server's user", func(t *testing.T) {
		t.Parallel()
		if os.Geteuid() != 0 {
			t.Skip("only root can give folders away")
		}
		s := start(t, Config{Dir: privateDir(t)})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := (&account{}).give(s.data()); err != nil {
			t.Fatal(err)
		}
		ask(t, start(t, Config{Dir: s.cfg.Dir}), "select ''")
	})
	t.Run("only we may enter", func(t *testing.T) {
		t.Parallel()
		s := start(t, Config{Dir: privateDir(t)})
		info, err := os.Stat(s.cfg.Dir)
		if err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("got %v, %v", info, err)
		}
	})
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	t.Run("no binaries", func(t *testing.T) {
		t.Parallel()
		_, err := Start(t.Context(), Config{Dir: privateDir(t), Bin: t.TempDir()})
		if !errors.Is(err, ErrNoBinaries) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("one program alone in a folder is not enough", func(t *testing.T) {
		t.Parallel()
		bin := t.TempDir()
		if err := os.WriteFile(filepath.Join(bin, "postgres"), []byte("#!/bin/sh\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		if _, ok := probe(t.Context(), bin); ok {
			t.Error("it was taken")
		}
	})
	t.Run("another major version says how to go on", func(t *testing.T) {
		t.Parallel()
		dir := privateDir(t)
		if err := os.Mkdir(filepath.Join(dir, "data"), 0o700); err != nil {
			t.Fatal(err)
		}
		version := filepath.Join(dir, "data", "PG_VERSION")
		if err := os.WriteFile(version, []byte("9\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Start(t.Context(), Config{Dir: dir})
		if !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), "install version 9") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a server that does not come up shows the end of its log", func(t *testing.T) {
		t.Parallel()
		_, err := Start(t.Context(), Config{Dir: privateDir(t), Settings: []string{"no_such_setting=1"}})
		if err == nil || !strings.Contains(err.Error(), `"no_such_setting"`) {
			t.Errorf("got %v", err)
		}
	})
}

// privateDir is a folder that nobody but us may walk to, as below /root.
func privateDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func start(t *testing.T, cfg Config) *Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// killed starts a Prelude in a process of its own and kills it once its server answers.
func killed(t *testing.T, dir string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), victim+"="+dir)
	_, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "READY\n" {
		t.Fatalf("got %q, %v", line, err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

func postmaster(t *testing.T, dir string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "data", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func kill(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, done func() bool) {
	t.Helper()
	tick := time.NewTicker(pause)
	defer tick.Stop()
	late := time.After(time.Minute)
	for !done() {
		select {
		case <-late:
			t.Fatal("it did not happen within a minute")
		case <-tick.C:
		}
	}
}

func ask(t *testing.T, s *Server, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	results, err := conn.PgConn().Exec(t.Context(), sql).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	last := results[len(results)-1]
	return string(last.Rows[0][0])
}
