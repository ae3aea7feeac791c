package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"prelude/internal/api"
	"prelude/internal/eventstore"
)

// bootstrap serves HTTP from the moment at which the port is taken. Until the server is built it answers probes alone:
// else an instance that waits for a part could not be told from one that hangs. Then the server answers, on the same
// connections.
type bootstrap struct {
	http    *http.Server
	handler atomic.Pointer[http.Handler]
	began   time.Time
	pending atomic.Pointer[api.WrongPart]    // what the start is at; nil: nothing yet
	store   atomic.Pointer[eventstore.Store] // nil: it is not opened yet
	ended   chan error                       // what serving ended with
}

func newBootstrap(logger *slog.Logger) *bootstrap {
	b := &bootstrap{began: time.Now(), ended: make(chan error, 1)}
	b.answers(api.Starting(version, b.health, logger))
	b.http = &http.Server{ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			(*b.handler.Load()).ServeHTTP(w, r)
		})}
	return b
}

// answers has a handler answer the requests that come from now on.
func (b *bootstrap) answers(h http.Handler) { b.handler.Store(&h) }

// serve begins to serve; wait gives its end.
func (b *bootstrap) serve(l net.Listener) { go func() { b.ended <- b.http.Serve(l) }() }

// wait waits until serving has ended. That it was told to end is no error.
func (b *bootstrap) wait() error {
	if err := <-b.ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// close ends serving where the start came to nothing.
func (b *bootstrap) close() error { return errors.Join(b.http.Close(), b.wait()) }

// awaits notes what a start is at, for who asks meanwhile. Nobody asks where a command opens the parts.
func (p *parts) awaits(part, reason string) {
	if p.boot != nil {
		p.boot.pending.Store(&api.WrongPart{Part: part, Reason: reason, Since: api.NewTime(time.Now()), Fatal: true})
		p.boot.store.Store(p.store)
	}
}

// health is how an instance is that is being started. It asks no part, so it answers at once.
func (b *bootstrap) health(context.Context) api.Health {
	out := api.Health{Readers: []api.ReaderHealth{}, EventStore: api.StoreHealth{State: roleTold(eventstore.None)},
		Wrong: []api.WrongPart{{Part: "server", Reason: startingOrStopping, Since: api.NewTime(b.began), Fatal: true}}}
	if pending := b.pending.Load(); pending != nil {
		out.Wrong = append(out.Wrong, *pending)
	}
	if store := b.store.Load(); store != nil {
		state := store.State()
		out.EventStore.State = roleTold(state.Role)
		if state.Reason != nil { // it tells more than that the store is waited for
			out.Wrong = slices.DeleteFunc(out.Wrong, func(w api.WrongPart) bool { return w.Part == storePart })
			out.Wrong = append(out.Wrong, api.WrongPart{Part: storePart, Reason: storeReason(state.Reason),
				Since: api.NewTime(state.Since), Fatal: true})
		}
	}
	out.Judge()
	return out
}
