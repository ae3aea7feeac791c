package pgserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// up takes over the postmaster that runs on the data folder, or starts one. We hold the folder's
// lock, so nobody else does either.
func (s *Server) up(ctx context.Context) (*process, error) {
	const tries = 20
	for try := 1; ; try++ {
		if p, err := s.adopt(ctx); p != nil || err != nil {
			return p, err
		}
		p, busy, err := s.try(ctx)
		if err == nil || !busy || try == tries {
			return p, err
		}
		if err := wait(ctx, time.Second/2); err != nil {
			return nil, err
		}
	}
}

// adopt takes over a postmaster that runs; nil if none does.
func (s *Server) adopt(ctx context.Context) (*process, error) {
	pid := s.running()
	if pid == 0 {
		return nil, nil
	}
	p := watchFound(pid)
	if err := s.takeOver(ctx, p); err != nil {
		p.leave()
		return nil, err
	}
	select {
	case <-p.gone: // it was on its way out
		return nil, nil
	default:
		s.cfg.Logger.Info("postgres taken over", "pid", pid)
		return p, nil
	}
}

// takeOver waits until p answers or is gone. One that is alive, but whose socket is not where we
// look for it, is stopped: it was started with another one, or somebody cleared its folder away.
func (s *Server) takeOver(ctx context.Context, p *process) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	absent := time.Now().Add(3 * time.Second)
	for {
		err := s.sock.answers(ctx)
		if err == nil {
			return nil
		}
		if missing(err) && time.Now().After(absent) {
			s.cfg.Logger.Warn("postgres runs without its socket; stopping it", "pid", p.pid)
			return p.stop(s.cfg.Patience)
		}
		select {
		case <-p.gone:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("the postgres of process %d runs and does not answer: %w", p.pid, err)
		case <-time.After(pause):
		}
	}
}

func missing(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
}

// try starts a postmaster once. busy says that processes of the last one have not ended yet.
func (s *Server) try(ctx context.Context) (p *process, busy bool, err error) {
	s.clearStale()
	out, at, err := s.openLog()
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = out.Close() }()
	if p, err = s.spawn(out); err != nil {
		return nil, false, err
	}
	if err = s.ready(ctx, p); err == nil {
		s.cfg.Logger.Info("postgres started", "pid", p.pid, "version", s.bin.major)
		return p, false, nil
	}
	err = errors.Join(err, p.stop(s.cfg.Patience))
	tail := logSince(out, at)
	busy = strings.Contains(tail, "pre-existing shared memory block") ||
		strings.Contains(tail, "lock file \"postmaster.pid\" already exists")
	return nil, busy, fmt.Errorf("start postgres: %w; its log ends:\n%s", err, tail)
}

// clearStale removes what a postmaster that died left, at which the next one would stop while the
// old number is a process: a zombie's, or somebody else's (a container counts from 1 again). The
// note in the data folder stays as long as processes work there: by it Postgres keeps two servers
// from one folder.
func (s *Server) clearStale() {
	if s.running() != 0 || !procMounted() {
		return
	}
	for _, name := range []string{".s.PGSQL." + port, ".s.PGSQL." + port + ".lock"} {
		_ = os.Remove(filepath.Join(s.sock.path, name))
	}
	here, err := os.Stat(s.data())
	if err != nil {
		return
	}
	folders, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, cwd := range folders {
		if info, err := os.Stat(cwd); err == nil && os.SameFile(info, here) {
			return
		}
	}
	_ = os.Remove(filepath.Join(s.data(), "postmaster.pid"))
}

// watch starts the server anew whenever it ends by itself, until ctx ends.
func (s *Server) watch(ctx context.Context) {
	defer close(s.done)
	const longest = 30 * time.Second
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.proc.gone:
		}
		s.cfg.Logger.Error("postgres ended by itself; starting it anew", "pid", s.proc.pid)
		for delay := time.Second; ; delay = min(2*delay, longest) {
			p, err := s.up(ctx)
			if err == nil {
				s.proc = p
				break
			}
			if ctx.Err() != nil {
				return
			}
			s.cfg.Logger.Error("postgres does not start", "error", err, "again_in", delay)
			if wait(ctx, delay) != nil {
				return
			}
		}
	}
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
