package commands

import (
	"context"
	"encoding/json"
	"strings"

	"prelude/domain"
	"prelude/domain/completion"
	"prelude/domain/preset"
	"prelude/domain/receipt"
	"prelude/domain/session"
	"prelude/internal/authz"
	"prelude/internal/eventlog"
)

// Complete asks for a reply without a session, as an OpenAI client does.
type Complete struct {
	Asked     string     // the model as it was named
	Preset    *PresetArg // where that names a preset
	Variables preset.Values
	Messages  []receipt.Message
	Settings  receipt.Settings // what the client set
	Extra     map[string]json.RawMessage
}

// Completed is a completion that is under way, or was before.
type Completed struct {
	Left[completion.Completion]
	Reply  domain.ReplyID
	Preset *session.PresetVersion
	Model  string
}

// The refusals of completions.
var (
	ErrLocked = &domain.Error{Kind: domain.Invalid, Code: "preset_locked",
		Detail: "The preset is locked: it takes no system or developer messages besides its own."}
	errNoMessages = (&domain.Error{Kind: domain.Invalid, Code: "required",
		Detail: "must hold a message"}).With("messages")
	errNewTexts = (&domain.Error{Kind: domain.TooLarge, Code: "too_large",
		Detail: "The texts after the last reply are more than 256 KiB."}).With("messages")
)

// mostAsked is how often a repeat asks again after failures that may pass.
const mostAsked = 32

// Complete handles [Complete]: one append with the receipt and the new texts, then the reply is made, whoever
// listens. A repeat answers with the reply there is; after a failure that may pass, before a word was said, it asks
// again: the key is bound by an answer.
func (h Sessions) Complete(ctx context.Context, cmd Complete, meta Meta) (done Completed, err error) {
	for n := range uint64(mostAsked) {
		if done, err = h.complete(ctx, cmd, meta, n); err != nil || !done.Replayed || !done.State.Passed {
			break
		}
	}
	return done, err
}

// complete is the nth attempt of a call.
func (h Sessions) complete(ctx context.Context, cmd Complete, meta Meta, n uint64) (Completed, error) {
	rule, err := authz.May(meta.By, authz.StartSession, authz.Thing{Org: meta.By.Org})
	if err != nil {
		return Completed{}, err
	}
	meta = meta.Step("post").creating()
	meta.rule = rule
	done := Completed{Reply: domain.ReplyID(meta.derive(domain.ReplyPrefix, n))}
	defer h.Hub.expect(done.Reply)()
	key := domain.DayKey(meta.By.Org, meta.By.User, h.Now().Format("2006-01-02"))
	var t turn
	started := h.Now()
	stream := eventlog.CompletionStream(meta.By.Org, done.Reply)
	done.Left, err = transact(ctx, h.Engine, stream, meta,
		func(c completion.Completion, m *Meta) ([]completion.Event, error) {
			var err error
			if t, err = h.prepareCompletion(ctx, cmd, key, m.By); err != nil {
				return nil, err
			}
			manifest, err := h.prove(ctx, t, key)
			if err != nil {
				return nil, err
			}
			started = h.Now()
			return c.Start(completion.Started{
				Reply: done.Reply, Org: m.By.Org, User: m.By.User, Key: key, Asked: cmd.Asked, Preset: t.preset,
				Variables: sealed(key, encodeValues(t.values)), Texts: newTexts(t.assembly.Pieces, key),
				Manifest: manifest, Producer: h.Producer, Until: started.Add(t.route.Total), At: started,
			})
		})
	if err != nil {
		return done, err
	}
	done.Preset, done.Model = t.preset, t.plan.Model
	if !done.Replayed {
		h.produce(&Run{Reply: done.Reply, Org: meta.By.Org, Owner: meta.By.User, Preset: t.preset,
			Model: t.plan.Model, StartedAt: started, Until: started.Add(t.route.Total), Position: done.Position},
			t, h.endCompletion(meta))
	}
	return done, nil
}

func sealed(key domain.KeyID, text string) domain.Secret {
	if text == "" {
		return domain.Secret{}
	}
	return domain.Seal(key, text)
}

func (h Sessions) prepareCompletion(ctx context.Context, cmd Complete, key domain.KeyID,
	who domain.Principal) (turn, error) {
	t, err := h.completionTarget(ctx, cmd, who)
	if err != nil {
		return t, err
	}
	if len(cmd.Messages) == 0 {
		return t, errNoMessages
	}
	t.plan.Refuse = true
	pieces := make([]receipt.Piece, len(cmd.Messages))
	for i, msg := range cmd.Messages {
		pieces[i] = receipt.Piece{Role: msg.Role, Text: msg.Content, Raw: msg.Raw, Key: key,
			Source: receipt.Source{Kind: receipt.FromLiteral}}
	}
	t.plan.Fixed = append(t.plan.Fixed, pieces[:len(pieces)-1]...)
	t.plan.Last = pieces[len(pieces)-1]
	if newBytes(pieces) > session.MaxContent {
		return t, errNewTexts
	}
	b, err := receipt.Start(t.plan)
	if err != nil {
		return t, err
	}
	t.assembly = b.Done()
	return t, nil
}

func (h Sessions) completionTarget(ctx context.Context, cmd Complete, who domain.Principal) (turn, error) {
	if cmd.Preset == nil {
		if len(cmd.Variables) > 0 {
			return turn{}, errNoVariables
		}
		t, err := h.bare(cmd.Asked)
		t.plan.Settings, t.plan.Extra = cmd.Settings, cmd.Extra
		return t.reserved(cmd.Settings), err
	}
	c, err := h.choose(ctx, who, *cmd.Preset)
	if err != nil {
		return turn{}, err
	}
	values := cmd.Variables
	if values == nil {
		values = preset.Values{}
	}
	t, err := h.withPreset(c, "", values, "preset.variables")
	if err != nil {
		return t, err
	}
	if c.version.Content.Locked {
		t.plan.Extra = harmless(cmd.Extra)
		return t, refuseSystem(cmd.Messages)
	}
	t.plan.Settings, t.plan.Extra = over(t.plan.Settings, cmd.Settings), cmd.Extra
	return t.reserved(cmd.Settings), nil
}

// reserved keeps as much of the window for the reply as the client asks for.
func (t turn) reserved(client receipt.Settings) turn {
	if n := client.MaxOutputTokens; n > 0 {
		t.plan.Reserve = n
	}
	return t
}

// harmless leaves of what a client sent besides what does not change how a locked preset answers.
func harmless(extra map[string]json.RawMessage) map[string]json.RawMessage {
	kept := map[string]json.RawMessage{}
	for _, name := range []string{"tools", "tool_choice", "parallel_tool_calls", "user", "metadata",
		"safety_identifier", "prompt_cache_key"} {
		if v, ok := extra[name]; ok {
			kept[name] = v
		}
	}
	if len(kept) == 0 {
		return nil
	}
	return kept
}

func refuseSystem(messages []receipt.Message) error {
	for _, m := range messages {
		if m.Role == "system" || m.Role == "developer" {
			return ErrLocked
		}
	}
	return nil
}

// over puts what a client set over what the preset says.
func over(s, client receipt.Settings) receipt.Settings {
	if client.Temperature != nil {
		s.Temperature = client.Temperature
	}
	if client.TopP != nil {
		s.TopP = client.TopP
	}
	if client.MaxOutputTokens > 0 {
		s.MaxOutputTokens = client.MaxOutputTokens
	}
	if client.Stop != nil {
		s.Stop = client.Stop
	}
	if client.ResponseFormat != "" {
		s.ResponseFormat = client.ResponseFormat
	}
	return s
}

// fresh is the place of the first piece after the assistant's last one: from there on texts are new.
func fresh(pieces []receipt.Piece) int {
	for i := len(pieces) - 1; i >= 0; i-- {
		if pieces[i].Role == "assistant" {
			return i + 1
		}
	}
	return 0
}

func newBytes(pieces []receipt.Piece) int {
	n := 0
	for _, p := range pieces[fresh(pieces):] {
		n += len(p.Bytes())
	}
	return n
}

// newTexts are the texts of a call that are kept: what was resent is known by its HMACs.
func newTexts(pieces []receipt.Piece, key domain.KeyID) []completion.Text {
	var texts []completion.Text
	for i := fresh(pieces); i < len(pieces); i++ {
		p := pieces[i]
		if p.Source.Kind != receipt.FromLiteral {
			continue // the preset's own
		}
		texts = append(texts, completion.Text{Part: i, Raw: p.Raw != nil,
			Content: sealed(key, strings.ToValidUTF8(string(p.Bytes()), "\uFFFD"))})
	}
	return texts
}
