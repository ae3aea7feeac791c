package commands

import (
	"context"
	"encoding/json"
	"errors"

	"prelude/domain"
	"prelude/domain/preset"
	"prelude/domain/session"
	"prelude/internal/authz"
	"prelude/internal/eventlog"
)

// Sessions handles the commands about sessions, and about the replies in them.
type Sessions struct {
	*Engine
	Hub      *Hub
	Producer session.Producer // this process
	// Gone says whether another process is known to be gone; nil: of none it is known.
	Gone func(session.Producer) bool
	// CancelAt cancels a reply where it is made, so that the text there is kept; nil: no other process is reached.
	CancelAt func(context.Context, session.Producer, domain.ReplyID, domain.UserID) error
}

// Session is what a command about a session leaves.
type Session = Left[session.Session]

// PresetArg is a preset as a request names it: by a name, or by an id with a selector.
type PresetArg struct {
	Name     Name
	ID       domain.PresetID // set instead of the name
	Selector string          // with the id
}

// chosen is a preset that a request resolved to, once.
type chosen struct {
	ref     session.PresetRef
	preset  preset.Preset
	version *preset.Version
}

// mayAnswer refuses another model in the place of a locked preset's.
func (c *chosen) mayAnswer(model string) error {
	if d := c.version.Content; d.Locked && model != "" && model != d.Model {
		return errOtherModel
	}
	return nil
}

var errOtherModel = (&domain.Error{Kind: domain.Invalid, Code: "preset_locked",
	Detail: "The preset is locked: no other model answers in the place of its own."}).With("model")

// choose resolves a preset for use by who. What who may not see is unknown.
func (e *Engine) choose(ctx context.Context, who domain.Principal, arg PresetArg) (*chosen, error) {
	id, selector, name := arg.ID, arg.Selector, ""
	if id == "" {
		selector, name = arg.Name.Selector, arg.Name.String()
		var err error
		if id, err = e.Resolve(ctx, who, arg.Name); err != nil {
			return nil, unknown(err)
		}
	}
	p, err := e.preset(ctx, who.Org, id)
	if err != nil {
		return nil, err
	}
	if !p.Exists() || p.DeletedAt != nil {
		return nil, ErrUnknownPreset.With("preset")
	}
	if _, err := authz.May(who, authz.UsePreset, presetThing(p)); err != nil {
		return nil, unknown(err)
	}
	version, err := p.Select(selector)
	if err != nil {
		return nil, with(err, "preset")
	}
	if name == "" {
		name = Name{Own: p.Scope == preset.UserScope, Slug: p.Slug}.String()
	}
	return &chosen{preset: p, version: version, ref: session.PresetRef{
		ID: id, Name: name, Selector: selector, Version: version.Number}}, nil
}

// Usable finds a preset that the caller may use, in the version that is asked for.
func (h Presets) Usable(ctx context.Context, who domain.Principal, arg PresetArg) (preset.Preset, error) {
	c, err := h.choose(ctx, who, arg)
	if err != nil {
		return preset.Preset{}, err
	}
	return c.preset, nil
}

// unknown: in a body, what does not exist is a fault of the body.
func unknown(err error) error {
	if errors.Is(err, domain.ErrNotFound) {
		return ErrUnknownPreset.With("preset")
	}
	return err
}

func with(err error, field string) error {
	var e *domain.Error
	if errors.As(err, &e) {
		return e.With(field)
	}
	return err
}

// StartSession asks for a session.
type StartSession struct {
	Preset    *PresetArg
	Variables preset.Values
	Model     string
	Title     string
}

// Start handles [StartSession]. It makes the keys that turns will need, so that no turn waits for that.
func (h Sessions) Start(ctx context.Context, cmd StartSession, meta Meta) (Session, error) {
	rule, err := authz.May(meta.By, authz.StartSession, authz.Thing{Org: meta.By.Org})
	if err != nil {
		return Session{}, err
	}
	n := session.New{ID: domain.SessionID(meta.derive(domain.SessionPrefix, 0)), Org: meta.By.Org,
		Owner: meta.By.User, Title: cmd.Title, Model: cmd.Model}
	meta.rule = rule
	return transact(ctx, h.Engine, eventlog.SessionStream(n.Org, n.ID), meta.Step("start").creating(),
		func(s session.Session, m *Meta) ([]session.Event, error) {
			var err error
			if n.Preset, n.Variables, err = h.target(ctx, m.By, cmd.Preset, cmd.Variables, cmd.Model); err != nil {
				return nil, err
			}
			events, err := s.Start(n, h.Now())
			if err != nil || len(events) == 0 {
				return nil, err
			}
			return events, h.ensureSession(ctx, n)
		})
}

// ensureSession makes the keys of a session. The author's comes first: by that the session is found when its owner
// is erased.
func (e *Engine) ensureSession(ctx context.Context, n session.New) error {
	return e.Log.Keys.Ensure(ctx, domain.AuthorKey(n.Org, n.ID, n.Owner), domain.SessionKey(n.Org, n.ID))
}

// target checks what is to answer in a session.
func (h Sessions) target(ctx context.Context, who domain.Principal, arg *PresetArg, values preset.Values,
	model string) (*session.PresetRef, string, error) {
	if model != "" {
		if h.window(model) == 0 {
			return nil, "", ErrUnknownModel.With("model")
		}
	}
	if arg == nil {
		if len(values) > 0 {
			return nil, "", errNoVariables
		}
		return nil, "", nil
	}
	c, err := h.choose(ctx, who, *arg)
	if err != nil {
		return nil, "", err
	}
	if err := c.mayAnswer(model); err != nil {
		return nil, "", err
	}
	if err := c.version.Content.CheckValues(values, "variables"); err != nil {
		return nil, "", err
	}
	return &c.ref, encodeValues(values), nil
}

var errNoVariables = (&domain.Error{Kind: domain.Invalid, Code: "undeclared_variable",
	Detail: "Without a preset there are no variables."}).With("variables")

func encodeValues(v preset.Values) string {
	if len(v) == 0 {
		return ""
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // the values were checked to be JSON
	}
	return string(b)
}

// mine loads a session of the caller's.
func (h Sessions) mine(ctx context.Context, who domain.Principal, id domain.SessionID,
) (session.Session, error) {
	if !domain.ValidID(domain.SessionPrefix, string(id)) {
		return session.Session{}, domain.ErrNotFound
	}
	f, err := load[session.Session, session.Event](ctx, h.Engine, eventlog.SessionStream(who.Org, id), false)
	if err == nil && !f.State.Exists() {
		err = domain.ErrNotFound
	}
	if err == nil {
		_, err = authz.May(who, authz.UseSession, authz.Thing{Org: f.State.Org, Owner: f.State.Owner})
	}
	return f.State, err
}

// change runs a decision on a session of the caller's.
func (h Sessions) change(ctx context.Context, id domain.SessionID, meta Meta,
	decide func(session.Session, *Meta) ([]session.Event, error)) (Session, error) {
	if !domain.ValidID(domain.SessionPrefix, string(id)) {
		return Session{}, domain.ErrNotFound
	}
	stream := eventlog.SessionStream(meta.By.Org, id)
	return transact(ctx, h.Engine, stream, meta, func(s session.Session, m *Meta) ([]session.Event, error) {
		if !s.Exists() {
			return nil, domain.ErrNotFound
		}
		var err error
		m.rule, err = authz.May(m.By, authz.UseSession, authz.Thing{Org: s.Org, Owner: s.Owner})
		if err != nil {
			return nil, err
		}
		return decide(s, m)
	})
}

// Apply changes what answers from the next message on.
func (h Sessions) Apply(ctx context.Context, id domain.SessionID, cmd StartSession, meta Meta,
) (Session, error) {
	return h.change(ctx, id, meta.Step("apply"), func(s session.Session, m *Meta) ([]session.Event, error) {
		if err := m.MatchETag(s.ETag()); err != nil {
			return nil, err
		}
		ref, values, err := h.target(ctx, m.By, cmd.Preset, cmd.Variables, cmd.Model)
		if err != nil {
			return nil, err
		}
		s.Variables, err = h.Log.OpenSecret(ctx, eventlog.SessionStream(s.Org, s.ID), "variables", s.Variables)
		if err != nil {
			return nil, err
		}
		return s.Apply(ref, values, cmd.Model, m.By.User, h.Now())
	})
}

// Rename gives a session another title.
func (h Sessions) Rename(ctx context.Context, id domain.SessionID, title string, meta Meta) (Session, error) {
	return h.change(ctx, id, meta.Step("rename"), func(s session.Session, m *Meta) ([]session.Event, error) {
		if err := m.MatchETag(s.ETag()); err != nil {
			return nil, err
		}
		current, err := h.Log.OpenSecret(ctx, eventlog.SessionStream(s.Org, s.ID), "title", s.Title)
		if err != nil {
			return nil, err
		}
		return s.Rename(title, current.Text, m.By.User, h.Now())
	})
}

// Delete takes a session out of sight.
func (h Sessions) Delete(ctx context.Context, id domain.SessionID, meta Meta) (Session, error) {
	return h.change(ctx, id, meta.Step("delete"), func(s session.Session, m *Meta) ([]session.Event, error) {
		if err := m.MatchETag(s.ETag()); err != nil {
			return nil, err
		}
		return s.Delete(m.By.User, h.Now())
	})
}

// Restore puts a session back in use.
func (h Sessions) Restore(ctx context.Context, id domain.SessionID, meta Meta) (Session, error) {
	return h.change(ctx, id, meta.Step("restore"), func(s session.Session, m *Meta) ([]session.Event, error) {
		return s.Restore(m.By.User, h.Now())
	})
}
