package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"prelude/commands"
	"prelude/domain"
	"prelude/domain/apikey"
	"prelude/domain/completion"
	"prelude/domain/session"
	"prelude/domain/user"
	"prelude/internal/api"
	"prelude/internal/authn"
	"prelude/internal/bus"
	"prelude/internal/eventlog"
	"prelude/internal/postgres"
	"prelude/internal/search"
	"prelude/projections"
	"prelude/readmodels"
)

type serveCmd struct {
	DevEnv bool `env:"PRELUDE_DEV_ENV" help:"Write the address and an API key to dev.env in the data folder."`

	StalledAfter time.Duration `kong:"-"` // zero: the constant; tests do not wait for that
}

// gcPercent is how much garbage may gather, of what is kept, before it is collected. The server keeps little and makes
// much: with Go's 100, collecting takes a tenth of its time, with this half of that.
const gcPercent = 200

// Run serves until the context ends, then stops in the reverse order of the start.
func (c *serveCmd) Run(ctx context.Context, cfg *Config, s streams) error {
	if err := cfg.checkServe(); err != nil {
		return err
	}
	if os.Getenv("GOGC") == "" { // which is Go's own, not a setting of ours
		debug.SetGCPercent(gcPercent)
	}
	logger := cfg.logger(s.err)
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	boot := newBootstrap(logger)
	boot.serve(listener)
	p := &parts{cfg: cfg, logger: logger, boot: boot}
	srv, err := p.build(ctx, listener)
	if err != nil {
		return errors.Join(err, boot.close(), p.Close())
	}
	srv.health.stalledAfter = cmp.Or(c.StalledAfter, stalledAfter)
	srv.hello = func() error {
		logger.Info("ready", "address", srv.url(), "start_ms", time.Since(boot.began).Milliseconds())
		return greet(ctx, p, srv.url(), c.DevEnv, s)
	}
	end := make(chan error, 1)
	go func() { end <- errors.Join(srv.run(ctx), p.Close()) }()
	select {
	case err := <-end:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-end:
		return err
	case <-time.After(stopWithin):
		return errLate
	}
}

// build opens the parts and builds the server over them.
func (p *parts) build(ctx context.Context, l net.Listener) (*server, error) {
	if err := p.open(ctx, true); err != nil {
		return nil, err
	}
	if err := p.reapply(ctx); err != nil {
		return nil, err
	}
	p.awaits("readers", "the readers are being held against the log")
	return newServer(ctx, p, l)
}

var errLate = errors.New("a part did not close in time; what was acknowledged is in the log")

// server is all that runs.
type server struct {
	*parts
	listener net.Listener
	handler  http.Handler
	api      *api.Server
	hub      *commands.Hub
	bus      *bus.Bus
	engine   *projections.Engine
	progress *projections.Progress
	readers  []projections.Reader
	peers    *projections.Peers
	live     *projections.Live
	relay    *api.Relay
	index    *search.Client
	stopping chan struct{}
	ready    atomic.Bool
	turned   atomic.Int64 // in ms: since when it is not ready
	health   *healthChecks

	instances *postgres.Instances
	hello     func() error // told when it is ready
}

func newServer(ctx context.Context, p *parts, l net.Listener) (*server, error) {
	s := &server{parts: p, listener: l, hub: commands.NewHub(p.logger), stopping: make(chan struct{})}
	s.turned.Store(time.Now().UnixMilli())
	err := s.joinOthers(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.openIndex(); err != nil {
		return nil, err
	}
	if s.bus, err = bus.New(p.logger, map[string]bus.Consumer{
		"usage": projections.Usage{Pool: p.pool}.Take}); err != nil {
		return nil, err
	}
	s.readers = []projections.Reader{projections.RightsReader(), projections.ViewsReader(),
		projections.OutReader(s.bus)}
	s.progress = projections.NewProgress()
	if s.index != nil {
		s.readers = append(s.readers, projections.NewIndexReader(p.pool, s.progress, s.index))
	}
	s.progress.Watch(s.readers)
	s.engine = &projections.Engine{Log: p.log, Pool: p.pool, Progress: s.progress, Logger: p.logger,
		Owner: s.instances.Me.ID}
	s.peers = &projections.Peers{Pool: p.pool, Progress: s.progress, Logger: p.logger}
	s.relay = api.NewRelay(s.vault.MasterMAC, s.address)
	s.onClose(func() error { s.relay.Close(); return nil })
	s.health = newHealthChecks(s)
	s.wire(s.producer())
	return s, projections.Ahead(ctx, p.pool, p.log, s.readers)
}

// wire builds the HTTP surface over the parts.
func (s *server) wire(producer session.Producer) {
	read := s.reader()
	if s.index != nil {
		read.Search = s.index
		read.Whole = func() bool { return s.progress.Whole(projections.IndexReader) }
	}
	e := s.parts.engine
	s.api = &api.Server{
		Presets:  commands.Presets{Engine: e},
		Sessions: commands.Sessions{Engine: e, Hub: s.hub, Producer: producer, Gone: s.gone, CancelAt: s.relay.Cancel},
		Users:    commands.Users{Engine: e, MAC: s.vault.MasterMAC},
		APIKeys:  commands.APIKeys{Engine: e},
		Vault:    s.vault,
		Read:     read, Progress: s.progress, Relay: s.relay, Log: s.log,
		Readers: s.looked(), LogID: s.logID, Version: version,
		Health: s.health.Picture, Stopping: s.stopping, Logger: s.logger,
	}
	s.api.Authn = authn.New(read, s.api.KnowsRights, s.progress.Watched)
	e.Watched, s.vault.Watched = s.progress.Watched, s.progress.Watched
	s.handler = s.api.Handler()
	s.live = &projections.Live{Log: s.log, Progress: s.progress, Logger: s.logger,
		Of: told, Seen: []func(eventlog.Record){s.seen}, Forget: []func(){e.Forget, s.api.Authn.Forget, s.vault.Forget}}
}

// told are the events of which seen must know more than that they happened.
var told = []any{session.ReplyCompleted{}, session.ReplyFailed{}, session.ReplyCancelled{}, completion.Ended{},
	session.Expired{}, user.Erased{}, apikey.Revoked{}}

// seen tells those who keep something in memory what has happened.
func (s *server) seen(rec eventlog.Record) {
	s.parts.engine.Seen(rec.Stream, rec.Revision)
	switch ev := rec.Event.(type) {
	case session.ReplyCompleted:
		s.hub.Ended(ev.Reply)
	case session.ReplyFailed:
		s.hub.Ended(ev.Reply)
	case session.ReplyCancelled:
		s.hub.Ended(ev.Reply)
	case completion.Ended:
		s.hub.Ended(domain.ReplyID(rec.Stream.Object()))
	case session.Expired:
		s.vault.Forget()
	case user.Erased:
		s.vault.Forget()
		s.parts.engine.Forget() // states hold what was appended here open
		s.api.Authn.Erase(ev.User)
		s.hub.Erased(ev.Org, ev.User)
	case apikey.Revoked:
		s.api.Authn.Revoke(domain.APIKeyID(rec.Stream.Object()))
	}
	if rec.Stream.Category == eventlog.APIKeyCategory || rec.Stream.Category == eventlog.UserCategory {
		s.api.Authn.Forget()
	}
}

func (s *server) url() string { return "http://" + s.listener.Addr().String() }

// How long a stop may take. What is left after the requests is for the parts to close.
const (
	stopReplies  = 5 * time.Second // replies under way may end by themselves
	stopRequests = 7 * time.Second // requests under way may end
	stopLast     = 300 * time.Millisecond
	stopWithin   = 9800 * time.Millisecond
)

// run runs everything; the first part to fail ends all.
func (s *server) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	// The readers go on while replies are ended, so that their ends are seen.
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	started := make(chan struct{})
	g.Go(func() error { return ended(work, s.live.Run(work, started)) })
	g.Go(func() error { return ended(work, s.bus.Run(work)) })
	g.Go(func() error { return ended(work, s.peers.Run(work)) })
	g.Go(func() error { return ended(work, s.health.Run(work)) })
	g.Go(func() error { return ended(work, s.instances.Run(work)) })
	g.Go(func() error { return ended(work, s.place.Keep(work, s.logger)) })
	g.Go(func() error { return ended(ctx, s.sweep(ctx)) })
	g.Go(func() error {
		<-s.bus.Running()
		// What readers have caught up with is then no older than what the live subscription began with.
		select {
		case <-started:
		case <-work.Done():
			return nil
		}
		readers, rctx := errgroup.WithContext(work)
		for _, r := range s.readers {
			readers.Go(func() error { return s.engine.Run(rctx, r) })
		}
		return ended(work, readers.Wait())
	})
	s.boot.answers(s.handler)
	g.Go(s.boot.wait)
	g.Go(func() error { return s.prepare(ctx, started) })
	g.Go(func() error {
		s.keepHouse(work)
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		defer stopWork()
		return s.stop()
	})
	return g.Wait()
}

// ended is nil where work was told to end.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the end was asked for
	}
	return err
}

// stop refuses new work, lets replies end or ends them, and then closes connections.
func (s *server) stop() error {
	s.turned.Store(time.Now().UnixMilli())
	s.ready.Store(false)
	s.logger.Info("stopping", "replies", s.hub.Busy())
	ctx, cancel := context.WithTimeout(context.Background(), stopRequests)
	defer cancel()
	down := make(chan error, 1)
	close(s.stopping)
	go func() { down <- s.boot.http.Shutdown(ctx) }()
	err := s.hub.Drain(ctx, stopReplies)
	if shut := <-down; shut != nil {
		err = errors.Join(err, s.boot.http.Close())
	}
	// A request that was answered last may have begun one more reply.
	last, cancel := context.WithTimeout(context.Background(), stopLast)
	defer cancel()
	return errors.Join(err, s.hub.Close(last))
}

// prepare makes the server ready: it waits until the readers have caught up, closes the replies that an
// earlier start of this instance left, and says hello. The index is not waited for: Postgres searches until that is
// whole. While a part is away it waits for that.
func (s *server) prepare(ctx context.Context, started <-chan struct{}) error {
	select {
	case <-started:
	case <-ctx.Done():
		return nil
	}
	err := s.insist(ctx, func() error {
		head, err := s.log.Head(ctx)
		if err != nil {
			return err
		}
		for _, name := range []string{projections.Rights, projections.Views} {
			s.progress.Wait(ctx, name, head)
		}
		last, err := s.closeOrphans(ctx)
		if err == nil {
			s.progress.Wait(ctx, projections.Views, last)
		}
		return err
	})
	if err != nil || ctx.Err() != nil {
		return ended(ctx, err)
	}
	first, cancel := context.WithTimeout(ctx, houseAtStart)
	defer cancel()
	s.houseOnce(first)
	s.ready.Store(true)
	if err := s.insist(ctx, s.hello); err != nil || first.Err() == nil {
		return ended(ctx, err)
	}
	s.houseOnce(ctx) // what the start could not wait for
	return nil
}

// insistEvery is how often something is tried again that failed because a part is away.
const insistEvery = time.Second

// insist does something until no part that it needs is away.
func (s *server) insist(ctx context.Context, do func() error) error {
	for {
		err := do()
		if err == nil || ctx.Err() != nil || !errors.Is(err, eventlog.ErrUnavailable) && !readmodels.Down(err) {
			return err
		}
		select {
		case <-time.After(insistEvery):
		case <-ctx.Done():
			return err
		}
	}
}

// looked is how this server looks after its readers.
func (s *server) looked() looked { return looked{s.engine, s.progress, s.readers, s.index} }

func (s *server) openIndex() error {
	if s.cfg.OpenSearchURL == "" {
		return nil
	}
	var err error
	if s.index, err = openIndex(s.parts); err == nil {
		s.onClose(s.index.Close)
	}
	return err
}

func openIndex(p *parts) (*search.Client, error) {
	return search.Open(search.Config{URL: p.cfg.OpenSearchURL, Prefix: p.cfg.OpenSearchPrefix, Logger: p.logger})
}
