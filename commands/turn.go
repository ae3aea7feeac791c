package commands

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"prelude/domain"
	"prelude/domain/preset"
	"prelude/domain/receipt"
	"prelude/domain/session"
	"prelude/internal/eventlog"
)

// PostMessage asks for a reply to a message.
type PostMessage struct {
	Session   domain.SessionID
	Content   string
	Model     string        // instead of the session's or the preset's
	Variables preset.Values // over the session's
}

// Posted is a turn that is under way, or was before.
type Posted struct {
	Session
	Message domain.MessageID
	Reply   domain.ReplyID
}

// turn is all that is known before a reply begins.
type turn struct {
	route    Route
	plan     receipt.Plan
	assembly receipt.Assembly
	preset   *session.PresetVersion
	values   preset.Values
}

var errLost = errors.New("the reply under way has lost its producer")

// Post handles [PostMessage]: one append with the message, the start of the reply and the receipt; then the
// reply is made, whoever listens. A repeat answers with the turn there is.
func (h Sessions) Post(ctx context.Context, cmd PostMessage, meta Meta) (Posted, error) {
	if err := session.CheckContent("content", cmd.Content); err != nil {
		return Posted{}, err
	}
	posted, err := h.post(ctx, cmd, meta)
	if errors.Is(err, errLost) {
		under := posted.State.UnderWay
		if _, err := h.CloseLost(ctx, meta.By.Org, cmd.Session, under.Reply); err != nil {
			return Posted{}, err
		}
		posted, err = h.post(ctx, cmd, meta)
	}
	return posted, err
}

func (h Sessions) post(ctx context.Context, cmd PostMessage, meta Meta) (Posted, error) {
	meta = meta.Step("post")
	posted := Posted{Message: domain.MessageID(meta.derive(domain.MessagePrefix, 0)),
		Reply: domain.ReplyID(meta.derive(domain.ReplyPrefix, 0))}
	defer h.Hub.expect(posted.Reply)()
	var t turn
	started := h.Now()
	left, err := h.change(ctx, cmd.Session, meta, func(s session.Session, m *Meta) ([]session.Event, error) {
		posted.State = s
		if h.lost(s) {
			return nil, errLost
		}
		if err := s.MayPost(); err != nil {
			return nil, err
		}
		var err error
		if t, err = h.prepare(ctx, s, cmd, posted.Message, m.By); err != nil {
			return nil, err
		}
		manifest, err := h.prove(ctx, t, domain.SessionKey(s.Org, s.ID))
		if err != nil {
			return nil, err
		}
		started = h.Now()
		return s.Post(session.Post{
			Message: posted.Message, Reply: posted.Reply, Author: m.By.User, Content: cmd.Content,
			Preset: t.preset, Variables: encodeValues(t.values), Manifest: manifest,
			Producer: h.Producer, Until: started.Add(t.route.Total),
		}, started)
	})
	if err != nil {
		return posted, err
	}
	posted.Session = left
	if !left.Replayed {
		h.produce(&Run{Reply: posted.Reply, Org: meta.By.Org, Owner: meta.By.User, Session: cmd.Session,
			Message: posted.Message, Preset: t.preset, Model: t.plan.Model, StartedAt: started,
			Until: started.Add(t.route.Total), Position: left.Position}, t, h.endTurn(meta))
	}
	return posted, nil
}

// prepare resolves the preset and fills the model's window.
func (h Sessions) prepare(ctx context.Context, s session.Session, cmd PostMessage, msg domain.MessageID,
	who domain.Principal) (turn, error) {
	t, err := h.resolve(ctx, s, cmd, who)
	if err != nil {
		return t, err
	}
	t.plan.Last = receipt.Piece{Role: "user", Text: cmd.Content,
		Source: receipt.Source{Kind: receipt.FromMessage, ID: string(msg)},
		Key:    domain.AuthorKey(s.Org, s.ID, who.User)}
	b, err := h.history(ctx, s, t.plan)
	if err != nil {
		return t, err
	}
	t.assembly = b.Done()
	return t, nil
}

// resolve finds what answers: the message's model over the session's over the preset's.
func (h Sessions) resolve(ctx context.Context, s session.Session, cmd PostMessage, who domain.Principal,
) (turn, error) {
	model := cmd.Model
	if model == "" {
		model = s.Model
	}
	if s.Preset == nil {
		if len(cmd.Variables) > 0 {
			return turn{}, errNoVariables
		}
		return h.bare(model)
	}
	c, err := h.sessionPreset(ctx, s, who)
	if err != nil {
		return turn{}, err
	}
	values, err := h.values(ctx, s, cmd.Variables)
	if err != nil {
		return turn{}, err
	}
	return h.withPreset(c, model, values, "variables")
}

// bare is a turn without a preset.
func (e *Engine) bare(model string) (turn, error) {
	route, ok := e.Models.Route(model)
	if !ok {
		return turn{}, ErrUnknownModel.With("model")
	}
	return turn{route: route, plan: receipt.Plan{Model: route.Name, Target: route.Target,
		Window: route.WindowTokens, Reserve: preset.Draft{}.ReserveOutput()}}, nil
}

// withPreset is a turn whose instructions and settings are a preset's.
func (e *Engine) withPreset(c *chosen, model string, values preset.Values, field string) (turn, error) {
	d := c.version.Content
	if err := c.mayAnswer(model); err != nil {
		return turn{}, err
	}
	if model == "" {
		model = d.Model
	}
	t, err := e.bare(model)
	if err != nil {
		return t, err
	}
	text, err := d.Render(values, field)
	if err != nil {
		return t, err
	}
	t.values = values
	t.preset = &session.PresetVersion{ID: c.preset.ID, Name: c.ref.Name, Selector: c.ref.Selector,
		Version: c.version.Number, Hash: c.version.Hash}
	t.plan.Settings, t.plan.Reserve = d.Settings, d.ReserveOutput()
	t.plan.Refuse = d.Context.Strategy == preset.Refuse
	t.plan.Fixed = []receipt.Piece{{Role: "system", Text: text,
		Source: receipt.Source{Kind: receipt.FromPreset, ID: string(c.preset.ID), Version: c.version.Number},
		Key:    domain.OrgKey(c.preset.Org)}}
	return t, nil
}

// sessionPreset resolves the session's preset as of now. One that was deleted, or lost its label, goes on with
// the version that the session recorded.
func (h Sessions) sessionPreset(ctx context.Context, s session.Session, who domain.Principal,
) (*chosen, error) {
	c, err := h.choose(ctx, who, PresetArg{ID: s.Preset.ID, Selector: s.Preset.Selector})
	if err == nil {
		return c, nil
	}
	p, loadErr := h.preset(ctx, who.Org, s.Preset.ID)
	if loadErr != nil {
		return nil, loadErr
	}
	version := p.Content(s.Preset.Version)
	if version == nil || p.DeletedAt == nil && !errors.Is(err, preset.ErrNoVersion) {
		return nil, err
	}
	return &chosen{ref: *s.Preset, preset: p, version: version}, nil
}

// values are the message's over the session's.
func (h Sessions) values(ctx context.Context, s session.Session, over preset.Values) (preset.Values, error) {
	stored, err := h.variablesOf(ctx, s)
	if err != nil {
		return nil, err
	}
	maps.Copy(stored, over)
	return stored, nil
}

func (h Sessions) variablesOf(ctx context.Context, s session.Session) (preset.Values, error) {
	values := preset.Values{}
	if s.Variables.IsZero() {
		return values, nil
	}
	opened, err := h.Log.OpenSecret(ctx, eventlog.SessionStream(s.Org, s.ID), "variables", s.Variables)
	if err != nil || opened.Gone || opened.Text == "" {
		return values, err
	}
	if err := json.Unmarshal([]byte(opened.Text), &values); err != nil {
		return nil, fmt.Errorf("read a session's variables: %w", err)
	}
	return values, nil
}

// history begins a request and gives it the session's texts, newest first, until it has enough.
func (h Sessions) history(ctx context.Context, s session.Session, plan receipt.Plan) (b *receipt.Builder, err error) {
	stream, at := eventlog.SessionStream(s.Org, s.ID), eventlog.Revision(s.Events-1)
	err = eventlog.Unchanged(ctx, func(bool) error {
		if b, err = receipt.Start(plan); err != nil {
			return err
		}
		return h.backwards(ctx, stream, at, func(said said) (bool, error) {
			return b.Add(said.Piece)
		})
	})
	return b, err
}

// prove makes the receipt's HMACs, with one question to the vault for all keys.
func (e *Engine) prove(ctx context.Context, t turn, whole domain.KeyID) (receipt.Manifest, error) {
	ids := []domain.KeyID{whole}
	for _, p := range t.assembly.Pieces {
		ids = append(ids, p.Key)
	}
	if err := e.Log.Keys.Ensure(ctx, ids...); err != nil {
		return receipt.Manifest{}, err
	}
	keys, err := e.Log.Keys.Find(ctx, ids...)
	if err != nil {
		return receipt.Manifest{}, err
	}
	for _, id := range ids {
		if keys[id] == nil {
			return receipt.Manifest{}, domain.ErrErased // a moment ago
		}
	}
	return t.assembly.Manifest(t.plan, whole, func(key domain.KeyID, text []byte) []byte {
		return keys[key].MAC(receipt.Format, text)
	}), nil
}
