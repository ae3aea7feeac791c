package receipt

import (
	"encoding/json"
	"fmt"

	"prelude/domain"
)

// MaxMessages is the most messages of a session that a request holds.
const MaxMessages = 400

// Piece is a text that may become a part of a request.
type Piece struct {
	Role   string
	Source Source
	Text   string
	Raw    json.RawMessage // the message as an OpenAI client sent it, where it is more than a text
	Key    domain.KeyID    // that its HMAC is made under
}

func (p Piece) size() int { return len(p.Bytes()) }

// Bytes is what a part's HMAC is made of.
func (p Piece) Bytes() []byte {
	if p.Raw != nil {
		return p.Raw
	}
	return []byte(p.Text)
}

// Plan is what a request is assembled from.
type Plan struct {
	Model    string
	Target   string
	Settings Settings
	Extra    map[string]json.RawMessage
	Window   int // the model's, in tokens
	Reserve  int // of it for the reply
	Refuse   bool
	Fixed    []Piece // always sent, first: the instructions
	Last     Piece   // always sent, last: the new message; without a role there is none yet
}

// Assembly is a request and the pieces it was made of, in order.
type Assembly struct {
	Request Request
	Pieces  []Piece
	Window  Window
	LeftOut []LeftOut
}

// ErrTooLong is the refusal of a request that cannot be made to fit the model's window.
var ErrTooLong = &domain.Error{Kind: domain.Invalid, Code: "context_full"}

// Builder gathers the newest messages that fit, beginning at the newest.
type Builder struct {
	plan    Plan
	budget  int
	used    int
	history []Piece   // newest first
	leftOut []LeftOut // what did not fit: nothing older is taken either
}

// Start reserves room for what must be sent. It refuses what cannot fit.
func Start(plan Plan) (*Builder, error) {
	b := &Builder{plan: plan, budget: plan.Window - plan.Reserve - Margin(plan.Window)}
	for _, p := range plan.Fixed {
		b.used += Tokens(p.size())
	}
	for _, v := range plan.Extra {
		b.used += Tokens(len(v)) // the tools: models count them too
	}
	b.used += Tokens(plan.Last.size())
	if b.used > b.budget {
		return nil, b.tooLong(b.used)
	}
	return b, nil
}

func (b *Builder) tooLong(need int) error {
	e := *ErrTooLong
	e.Detail = fmt.Sprintf("It does not fit the model's window of %d tokens: %d are needed, %d are "+
		"reserved for the reply and %d are margin.",
		b.plan.Window, need, b.plan.Reserve, Margin(b.plan.Window))
	return &e
}

func tooMany() error {
	e := *ErrTooLong
	e.Detail = fmt.Sprintf("It has more than the %d messages that a request may hold.", MaxMessages)
	return &e
}

// Add takes the next older message if it fits. More says whether an older one is wanted still:
// after one that did not fit none is, for a conversation with a gap is not the one that was had.
func (b *Builder) Add(p Piece) (more bool, err error) {
	n := Tokens(p.size())
	fits, few := b.used+n <= b.budget, len(b.history) < MaxMessages
	switch {
	case b.leftOut != nil:
		return false, nil
	case fits && few:
		b.used += n
		b.history = append(b.history, p)
		return true, nil
	case b.plan.Refuse && !few:
		return false, tooMany()
	case b.plan.Refuse:
		return false, b.tooLong(b.used + n)
	}
	b.leftOut = []LeftOut{{ID: p.Source.ID, Reason: "window"}}
	return false, nil
}

// Done puts the request together.
func (b *Builder) Done() Assembly {
	pieces := append([]Piece(nil), b.plan.Fixed...)
	for i := len(b.history) - 1; i >= 0; i-- {
		pieces = append(pieces, b.history[i])
	}
	if b.plan.Last.Role != "" {
		pieces = append(pieces, b.plan.Last)
	}
	return Assembly{
		Request: Render(b.plan.Model, b.plan.Settings, b.plan.Extra, pieces),
		Pieces:  pieces,
		Window: Window{Tokens: b.plan.Window, Reserved: b.plan.Reserve,
			Margin: Margin(b.plan.Window), Used: b.used},
		LeftOut: b.leftOut,
	}
}

// Render makes the request of its pieces: version 1 of the renderer.
func Render(model string, s Settings, extra map[string]json.RawMessage, pieces []Piece) Request {
	r := Request{Model: model, Settings: s, Extra: extra, Messages: make([]Message, len(pieces))}
	for i, p := range pieces {
		r.Messages[i] = Message{Role: p.Role, Content: p.Text, Raw: p.Raw}
	}
	return r
}

// Bytes is the request in the format receipt/1.
func (r Request) Bytes() []byte {
	b, err := json.Marshal(r)
	if err != nil {
		panic(err) // only raw JSON could fail, and it was checked when it was read
	}
	return b
}

// MAC makes an HMAC of text under a key.
type MAC func(key domain.KeyID, text []byte) []byte

// Manifest proves the assembly: each piece under its own key, the whole under the session's.
func (a Assembly) Manifest(plan Plan, whole domain.KeyID, mac MAC) Manifest {
	m := Manifest{
		Format: Format, Renderer: Renderer, Tokenizer: Tokenizer, Model: plan.Model,
		Target:     plan.Target,
		Parameters: domain.SealJSON(whole, Parameters{plan.Settings, plan.Extra}),
		Window:     a.Window, LeftOut: a.LeftOut, MAC: mac(whole, a.Request.Bytes()),
		Parts: make([]Part, len(a.Pieces)),
	}
	for i, p := range a.Pieces {
		m.Parts[i] = Part{Role: p.Role, Source: p.Source, Length: p.size(),
			Tokens: Tokens(p.size()), MAC: mac(p.Key, p.Bytes())}
	}
	return m
}
