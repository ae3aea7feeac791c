package commands

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"prelude/domain"
	"prelude/domain/preset"
	"prelude/domain/session"
	"prelude/internal/eventlog"
)

// order is a command that was given, and what it must have left: so many events of each of its steps, and where it
// asked for a reply, one end of that.
type order struct {
	kind    string
	meta    Meta
	leaves  map[string]int
	session domain.SessionID
	reply   domain.ReplyID
}

// customer gives commands of every kind. Presets are edited by all; it alone publishes its own, moves a label there
// and uses its session, so that each command has something to change.
type customer struct {
	*rig
	rng     *rand.Rand
	all     []domain.PresetID
	own     domain.PresetID
	edited  bool // since it was published
	version int  // where its label points
	session domain.SessionID
	reply   domain.ReplyID // the last in the session
	repeats int64
}

// customer is one whose preset has two versions.
func (r *rig) customer(all []domain.PresetID, n int, rng *rand.Rand) *customer {
	r.t.Helper()
	c := &customer{rig: r, rng: rng, all: all, own: all[n], session: r.session(olga)}
	for range 2 {
		for _, do := range []func(Meta) (order, func(context.Context) error){c.edits, c.publishes} {
			if _, do := do(by(olga)); do(r.t.Context()) != nil {
				r.t.Fatalf("preset %d has no two versions", n)
			}
		}
	}
	return c
}

// gives gives a command of some kind until it is done.
func (c *customer) gives() order {
	kinds := []func(Meta) (order, func(context.Context) error){
		c.edits, c.creates, c.publishes, c.labels, c.starts, c.renames, c.posts}
	o, do := kinds[c.rng.IntN(len(kinds))](repeatable(olga, "body"))
	c.insist(o.kind, do)
	return o
}

// insist gives a command until it is done, as a client does who gets 503 or 409.
func (c *customer) insist(kind string, do func(context.Context) error) {
	for ; ; c.repeats++ {
		ctx, cancel := context.WithTimeout(c.t.Context(), time.Duration(50+c.rng.IntN(3000))*time.Millisecond)
		err := do(ctx)
		cancel()
		switch {
		case err == nil:
			return
		case !errors.Is(err, eventlog.ErrUnavailable) && !errors.Is(err, ErrMoved) &&
			!errors.Is(err, context.DeadlineExceeded):
			c.t.Errorf("%s: it ended with %v", kind, err)
			return
		}
	}
}

func (c *customer) edits(m Meta) (order, func(context.Context) error) {
	id, words := c.all[c.rng.IntN(len(c.all))], uuid.NewString()
	if !c.edited { // else it could not be published
		id, c.edited = c.own, true
	}
	return order{kind: "edits", meta: m, leaves: map[string]int{"edit": 1}}, func(ctx context.Context) error {
		_, err := c.presets().Edit(ctx, EditPreset{Preset: id,
			Change: func(slug string, d preset.Draft) (string, preset.Draft, error) {
				d.Instructions = words
				return slug, d, nil
			}}, m)
		return err
	}
}

func (c *customer) creates(m Meta) (order, func(context.Context) error) {
	slug := "made-" + uuid.NewString()
	return order{kind: "creates", meta: m, leaves: map[string]int{"claim": 1, "create": 1}},
		func(ctx context.Context) error {
			_, err := c.presets().Create(ctx, CreatePreset{Scope: preset.OrgScope, Slug: slug, Draft: draft("Made")}, m)
			return err
		}
}

func (c *customer) publishes(m Meta) (order, func(context.Context) error) {
	if !c.edited {
		return c.edits(m)
	}
	c.edited = false
	return order{kind: "publishes", meta: m, leaves: map[string]int{"publish": 1}}, func(ctx context.Context) error {
		_, err := c.presets().Publish(ctx, PublishPreset{Preset: c.own}, m)
		return err
	}
}

func (c *customer) labels(m Meta) (order, func(context.Context) error) {
	c.version = 1 + c.version%2
	to := c.version
	return order{kind: "labels", meta: m, leaves: map[string]int{"label": 1}}, func(ctx context.Context) error {
		_, err := c.presets().Label(ctx, LabelPreset{Preset: c.own, Label: "beta", Version: to}, m)
		return err
	}
}

// starts a session, in which the next commands about one are given.
func (c *customer) starts(m Meta) (order, func(context.Context) error) {
	return order{kind: "starts", meta: m, leaves: map[string]int{"start": 1}}, func(ctx context.Context) error {
		left, err := c.sessions().Start(ctx, StartSession{Model: "demo"}, m)
		if err == nil {
			c.session, c.reply = left.State.ID, ""
		}
		return err
	}
}

func (c *customer) renames(m Meta) (order, func(context.Context) error) {
	title := uuid.NewString()
	return order{kind: "renames", meta: m, leaves: map[string]int{"rename": 1}}, func(ctx context.Context) error {
		_, err := c.sessions().Rename(ctx, c.session, title, m)
		return err
	}
}

// posts a message when the reply to the last has ended, or nobody makes it. A reply whose making was lost with an
// answer on the way is ended by the next post, or at last by settle.
func (c *customer) posts(m Meta) (order, func(context.Context) error) {
	if run := c.hub.Find(c.reply); run != nil {
		if _, err := run.Wait(c.t.Context()); err != nil {
			c.t.Errorf("a reply does not end: %v", err)
		}
	}
	c.reply = domain.ReplyID(m.derive(domain.ReplyPrefix, 0))
	return order{kind: "posts", meta: m, leaves: map[string]int{"post": 3}, session: c.session, reply: c.reply},
		func(ctx context.Context) error {
			_, err := c.sessions().Post(ctx, PostMessage{Session: c.session, Content: "Hi"}, m)
			return err
		}
}

// settle waits for the replies that are made, and ends those that nobody makes any more.
func (r *rig) settle(orders []order) {
	r.t.Helper()
	<-r.hub.quiet()
	_, ends := r.tally()
	for _, o := range orders {
		if o.reply != "" && ends[o.reply] == 0 {
			if _, err := r.sessions().Recover(r.t.Context(), acme, o.session, o.reply); err != nil {
				r.t.Error(err)
			}
		}
	}
}

// tally counts the events of each step, and the ends of each reply, in the whole log.
func (r *rig) tally() (steps map[uuid.UUID]int, ends map[domain.ReplyID]int) {
	r.t.Helper()
	steps, ends = map[uuid.UUID]int{}, map[domain.ReplyID]int{}
	for raw, err := range r.Log.Store.ReadAll(r.t.Context(), 0, eventlog.Forwards, 0) {
		if err != nil {
			r.t.Fatal(err)
		}
		rec, err := eventlog.Decode(raw)
		if err != nil {
			r.t.Fatal(err)
		}
		steps[rec.Meta.Step]++
		switch e := rec.Event.(type) {
		case session.ReplyCompleted:
			ends[e.Reply]++
		case session.ReplyFailed:
			ends[e.Reply]++
		case session.ReplyCancelled:
			ends[e.Reply]++
		}
	}
	return steps, ends
}

// count looks in the log for what each command must have left.
func (r *rig) count(orders []order) (lost, twice int, kinds map[string]int) {
	r.t.Helper()
	steps, ends := r.tally()
	kinds = map[string]int{}
	look := func(what string, found, want int) {
		switch {
		case found < want:
			r.t.Logf("%s: %d events of %d", what, found, want)
			lost++
		case found > want:
			r.t.Logf("%s: %d events, not %d", what, found, want)
			twice++
		}
	}
	for _, o := range orders {
		kinds[o.kind]++
		for step, want := range o.leaves {
			look(fmt.Sprint(o.kind, ", step ", step), steps[o.meta.Step(step).stepID()], want)
		}
		if o.reply != "" {
			look(o.kind+", the reply's end", ends[o.reply], 1)
		}
	}
	return lost, twice, kinds
}
