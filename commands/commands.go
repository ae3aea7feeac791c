// Package commands changes things: each command loads an aggregate, asks whether the caller may, lets the
// aggregate decide, and appends what was decided. It calls nothing else inside that; the model is called
// between two of them. It never reads Postgres: what it knows is the log.
package commands

import (
	"context"
	"crypto/hmac"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"

	"prelude/domain"
	"prelude/internal/eventlog"
)

// ErrMoved: others changed the thing again and again while this command tried to.
var ErrMoved = &domain.Error{Kind: domain.Conflict, Code: "conflict",
	Detail: "Others are changing it at this moment: try again."}

// errReused is the refusal of an idempotency key that stood for another body.
var errReused = &domain.Error{Kind: domain.Invalid, Code: "idempotency_key_reused",
	Detail: "This Idempotency-Key was sent with another body."}

// Engine is what all handlers need: the log with its cache, the vault, and a clock.
type Engine struct {
	Log    *eventlog.Log
	Models Models
	Now    func() time.Time
	Logger *slog.Logger
	// Watched says that the live subscription would tell of what others change; else no cached state is taken
	// as it is.
	Watched   func() bool
	Snapshots Snapshots // nil: none
	// Conflicts says how a command decides anew when others were first, and how a stream is read anew that changed
	// while it was read.
	Conflicts Retry
	queues    queues
	cache     *cache
	tails     *tails
}

// NewEngine returns an engine over a log.
func NewEngine(log *eventlog.Log, models Models, logger *slog.Logger) *Engine {
	return &Engine{Log: log, Models: models, Logger: logger, cache: newCache(), tails: newTails(),
		Watched: func() bool { return false }, Conflicts: conflicts,
		Now: func() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }}
}

// Meta is who gives a command, and as which.
type Meta struct {
	By          domain.Principal
	Command     uuid.UUID // made once, at the edge
	Repeatable  bool      // the caller sent an Idempotency-Key: it may have been done before
	Body        []byte    // what was asked for, canonical; compared in a repeat
	IfMatch     []string  // ETags without quotes, one of which must match; nil: any
	Correlation string    // the request id
	step        string
	rule        string
	anew        bool // the stream is most likely empty: to look first costs more than to be refused
}

// creating returns m for a stream whose name follows from the command. Without an idempotency key it is new.
func (m Meta) creating() Meta {
	m.anew = !m.Repeatable
	return m
}

// Step returns m as the named step of a command that appends more than once.
func (m Meta) Step(name string) Meta {
	m.step = name
	return m
}

func (m Meta) stepID() uuid.UUID { return uuid.NewSHA1(m.Command, []byte("step:"+m.step)) }

// derive makes the nth id of a kind that the command makes.
func (m Meta) derive(prefix string, n uint64) string {
	id := uuid.NewSHA1(m.Command, binary.AppendUvarint([]byte(prefix), n))
	return domain.EncodeID(prefix, id)
}

// Left is what a command left: the state, where it stands in its stream and in the log, and whether the
// command had been done before.
type Left[S any] struct {
	State    S
	Revision eventlog.Revision
	Position eventlog.Position
	Replayed bool
	Began    string // the kind of the first event that the command appended; empty: none
}

type evolver[S, E any] interface{ Evolve(e E) S }

// conflicts is the Engine's default. An append takes some milliseconds: a pause of about that length lets the winner's
// be read. It stays short, for of one process only one command at a time contends for a stream.
var conflicts = Retry{First: 2 * time.Millisecond, Most: 16 * time.Millisecond, For: 10 * time.Second}

// transact runs one command: load, decide, append, and again from the load if the stream moved meanwhile. Before it
// loads again it waits for its turn among those of this process that met there, and pauses: a store may refuse an
// append before the one that won can be read.
// Decide is given the command's meta to note in it the rule that allowed it.
func transact[S evolver[S, E], E any](
	ctx context.Context, e *Engine, stream eventlog.Stream, meta Meta, decide func(S, *Meta) ([]E, error),
) (Left[S], error) {
	tries, queue := e.Conflicts.begin(ctx), waiter{queues: &e.queues, stream: stream}
	defer queue.leave()
	// Whoever comes to where others contend pauses too before the turn is used, or another process would never be first.
	pauses := queue.join(false)
	for fresh := false; ; fresh = true {
		if !queue.wait(ctx, tries.until) || pauses && !tries.wait(ctx) {
			return Left[S]{}, ErrMoved
		}
		pauses = false
		left, err := attempt(ctx, e, stream, &meta, fresh, decide)
		switch {
		case errors.Is(err, errBehind): // it is decided again, on what is read now
		case errors.Is(err, eventlog.ErrMoved):
			pauses = queue.join(true)
		default:
			return left, err
		}
	}
}

// errBehind: a refusal, or nothing to do, must not rest on a state that may be behind.
var errBehind = errors.New("the state that was decided on may be behind")

// attempt runs a command once, with fresh on the state that the log has now. Errors: eventlog.ErrMoved, errBehind.
func attempt[S evolver[S, E], E any](
	ctx context.Context, e *Engine, stream eventlog.Stream, meta *Meta, fresh bool, decide func(S, *Meta) ([]E, error),
) (left Left[S], err error) {
	was := folded[S]{Revision: eventlog.None, cached: true}
	if fresh || !meta.anew {
		if was, err = load[S, E](ctx, e, stream, fresh); err != nil {
			return left, err
		}
	}
	if before, err := e.repeated(ctx, was.recent, stream, *meta); before != nil || err != nil {
		left = was.left()
		if before != nil {
			left.Replayed, left.Began = true, before.began
		}
		return left, err
	}
	events, err := decide(was.State, meta)
	if err != nil || len(events) == 0 {
		if was.cached {
			err = errBehind
		}
		return was.left(), err
	}
	now, err := store(ctx, e, stream, was, *meta, events)
	left = now.left()
	left.Began = eventlog.KindOf(events[0])
	return left, err
}

// store appends what was decided and folds it onto the state it was decided on.
func store[S evolver[S, E], E any](
	ctx context.Context, e *Engine, stream eventlog.Stream, was folded[S], meta Meta, events []E,
) (folded[S], error) {
	at := e.Now()
	stored := eventlog.Meta{
		Org: string(meta.By.Org), User: string(meta.By.User), Key: string(meta.By.Key), Job: meta.By.Job,
		Command: meta.Command, Step: meta.stepID(), Attempt: uuid.New(), Rule: meta.rule,
		Correlation: meta.Correlation, At: at,
	}
	var err error
	if meta.Repeatable {
		if stored.Body, err = e.bodyMAC(ctx, stream, meta); err != nil {
			return was, err
		}
	}
	list := make([]any, len(events))
	for i, ev := range events {
		list[i] = ev
	}
	if err := e.ensureKeys(ctx, list); err != nil {
		return was, err
	}
	// From here on it may be done: whoever asked for it may leave, but its outcome must be known, for there may
	// be more to do, such as a reply to make.
	ctx, cancel := outlasting(ctx)
	defer cancel()
	done, list, err := e.Log.Append(ctx, stream, was.Revision, stored, list)
	if err != nil {
		return was, err
	}
	now := was
	for _, ev := range list {
		now.State = now.State.Evolve(ev.(E)) //nolint:forcetypeassert // they were made of E above
	}
	now.Revision, now.Position, now.cached = done.Revision, done.Position, false
	now.recent = now.recent.with(stored, eventlog.KindOf(list[0]))
	e.cache.put(stream, now.Revision, now, now.size())
	e.remember(stream, was.Revision, now.Revision, list)
	keepSnapshot(ctx, e, stream, was.Revision, now)
	return now, nil
}

// outlasting is ctx without its cancellation, but with its deadline.
func outlasting(ctx context.Context) (context.Context, context.CancelFunc) {
	kept := context.WithoutCancel(ctx)
	if at, ok := ctx.Deadline(); ok {
		return context.WithDeadline(kept, at)
	}
	return context.WithCancel(kept)
}

// repeated gives what is remembered of the command's step; with another body it is refused.
func (e *Engine) repeated(ctx context.Context, r *remembered, s eventlog.Stream, m Meta) (*remembered, error) {
	if !m.Repeatable {
		return nil, nil //nolint:nilnil // nothing is remembered
	}
	was := r.find(m.stepID(), e.Now())
	if was == nil {
		return nil, nil //nolint:nilnil // nothing is remembered
	}
	mac, err := e.bodyMAC(ctx, s, m)
	if err != nil {
		return nil, err
	}
	if !hmac.Equal([]byte(mac), []byte(was.body)) {
		return nil, errReused
	}
	return was, nil
}

// bodyMAC is made under the key of whoever's texts the body holds, so that erasing them erases it too.
func (e *Engine) bodyMAC(ctx context.Context, s eventlog.Stream, m Meta) (string, error) {
	id := domain.OrgKey(m.By.Org)
	switch s.Category {
	case eventlog.SessionCategory:
		id = domain.AuthorKey(m.By.Org, domain.SessionID(s.Object()), m.By.User)
	case eventlog.CompletionCategory, eventlog.UserCategory:
		id = domain.UserKey(m.By.Org, m.By.User)
	}
	if err := e.Log.Keys.Ensure(ctx, id); err != nil {
		return "", err
	}
	keys, err := e.Log.Keys.Find(ctx, id)
	if err != nil {
		return "", err
	}
	if keys[id] == nil {
		return "", domain.ErrErased // a moment ago
	}
	return base64.RawStdEncoding.EncodeToString(keys[id].MAC("body|"+s.Category, m.Body)[:16]), nil
}

// MatchETag compares the state's ETag with those that were asked for.
func (m Meta) MatchETag(etag string) error {
	if m.IfMatch == nil || etag != "" && slices.Contains(m.IfMatch, etag) {
		return nil
	}
	e := *domain.ErrStale
	e.ETag = etag
	return &e
}
