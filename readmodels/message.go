package readmodels

import (
	"context"
	"fmt"
	"time"

	"prelude/domain"
	"prelude/domain/answer"
	"prelude/domain/receipt"
	"prelude/domain/session"
	"prelude/internal/eventlog"
)

// Message is a message or a reply; Role tells which. Its text is open, or marked as gone.
type Message struct {
	ID      string
	Session domain.SessionID // empty: a stateless completion's
	Role    string
	Status  string
	Text    domain.Secret
	Said    []answer.Part // of a reply: what it said besides its text; none where that is gone
	Seq     int64
	About
	Producer session.Producer // of a reply: which process makes it
	Until    time.Time        // of a reply: when that gives the model up
	org      domain.OrgID
	owner    string
}

// About is all that is known of a message or a reply but its text.
type About struct {
	Author     domain.UserID          `json:"author"`
	Message    domain.MessageID       `json:"message"`
	Reply      domain.ReplyID         `json:"reply"`
	Preset     *session.PresetVersion `json:"preset"`
	Model      string                 `json:"model"`
	Finish     string                 `json:"finish_reason"`
	Usage      *receipt.Usage         `json:"usage"`
	Cost       int64                  `json:"cost_micros"`
	Code       string                 `json:"code"`
	Detail     string                 `json:"detail"`
	Retryable  bool                   `json:"retryable"`
	Upstream   int                    `json:"upstream_status"` // with which the model's server refused; 0: it did not
	RetryAfter int                    `json:"retry_after_seconds"`
	Length     int                    `json:"length_bytes"`
	At         time.Time              `json:"at"`
	EndedAt    *time.Time             `json:"ended_at"`
	Parts      domain.Secret          `json:"parts"` // what a reply said besides its text
	Tools      domain.Secret          `json:"tools"` // a JSON list of tool calls: of older replies, which have no parts
	Position   eventlog.Position      `json:"position"`
	EndedPos   eventlog.Position      `json:"end_position"`
	Origin     string                 `json:"origin"` // of what a branch took: its id there
	Field      string                 `json:"field"`  // in which its text is sealed, if not the usual one
}

type messageRow struct {
	ID       string
	Session  string
	Seq      int64
	Role     string
	Owner    string
	Status   string
	KeyID    string
	Sealed   []byte
	About    []byte
	Instance string
	Boot     int64
	Until    *time.Time
}

const messageColumns = `m.id, m.session, m.seq, m.role, m.owner, m.status, m.key_id, m.sealed, m.about,
	m.instance, m.boot, m.until`

// Messages lists the messages and replies of a session of the caller's, the oldest first if p.Asc.
func (r *Reader) Messages(ctx context.Context, who domain.Principal, id domain.SessionID, p Page,
) (List[Message], error) {
	from, err := p.cursor()
	if err != nil {
		return List[Message]{}, err
	}
	if p.Cursor == "" && p.Asc {
		from.N = -1 << 62 // what a branch took lies before its first revision
	}
	compare, direction := p.order()
	var states []stateRow
	var rows []messageRow
	err = r.ask(ctx, who.Org, func(b *batch) {
		b.Queue(`SELECT state, pos FROM views.sessions WHERE org = $1 AND id = $2`, who.Org, id).
			Query(scan(&states))
		b.Queue(fmt.Sprintf(`SELECT %s FROM views.messages m
			WHERE m.org = $1 AND m.session = $2 AND m.seq %s $3 ORDER BY m.seq %s LIMIT $4`,
			messageColumns, compare, direction), who.Org, id, from.N, p.Limit+1).Query(scan(&rows))
	})
	if _, err := one(states, wrap("list messages", err)); err != nil {
		return List[Message]{}, err
	}
	sessions, err := decode[session.Session](states)
	if err != nil {
		return List[Message]{}, err
	}
	if err := seeSession(who, sessions[0]); err != nil {
		return List[Message]{}, err
	}
	messages, err := r.openMessages(ctx, who.Org, rows)
	return list(messages, p.Limit, func(m Message) cursor { return cursor{N: m.Seq} }), err
}

// openMessages reads rows and opens their texts, with one question to the vault.
func (r *Reader) openMessages(ctx context.Context, org domain.OrgID, rows []messageRow) ([]Message, error) {
	messages := make([]Message, len(rows))
	sealed := make([]eventlog.Sealed, 0, 3*len(rows))
	for i, row := range rows {
		m := &messages[i]
		*m = Message{ID: row.ID, Session: domain.SessionID(row.Session), Role: row.Role, Status: row.Status,
			Seq: row.Seq, Producer: session.Producer{Instance: row.Instance, Boot: row.Boot}, org: org, owner: row.Owner}
		if row.Until != nil {
			m.Until = *row.Until
		}
		if err := stored(row.About, &m.About); err != nil {
			return nil, wrap("read a message", err)
		}
		text := domain.Secret{Key: domain.KeyID(row.KeyID), Sealed: row.Sealed}
		sealed = append(sealed, eventlog.Sealed{Stream: m.stream(), Field: m.field(), Secret: text},
			eventlog.Sealed{Stream: m.stream(), Field: "parts", Secret: m.Parts},
			eventlog.Sealed{Stream: m.stream(), Field: "tool_calls", Secret: m.Tools})
	}
	if err := r.Log.OpenAll(ctx, sealed); err != nil {
		return nil, err
	}
	for i := range messages {
		m, opened := &messages[i], sealed[3*i:3*i+3]
		m.Text = opened[0].Secret
		var err error
		if m.Said, err = answer.Decode(opened[1].Secret.Text, opened[2].Secret.Text, m.Length); err != nil {
			return nil, wrap("read a message", err)
		}
	}
	return messages, nil
}

func (m Message) stream() eventlog.Stream {
	if m.Session == "" {
		return eventlog.CompletionStream(m.org, domain.ReplyID(m.ID))
	}
	return eventlog.SessionStream(m.org, m.Session)
}

// field is where the text stood in its event.
func (m Message) field() string {
	if m.Field != "" {
		return m.Field
	}
	if m.Role == "user" {
		return "content"
	}
	return "text"
}

// Reply answers with a reply of the caller's, also one of a stateless completion.
func (r *Reader) Reply(ctx context.Context, who domain.Principal, id domain.ReplyID) (Message, error) {
	m, err := r.messages(ctx, who.Org, []string{string(id)})
	if err != nil {
		return Message{}, err
	}
	if len(m) == 0 || m[0].Role != "assistant" || m[0].owner != string(who.User) {
		return Message{}, domain.ErrNotFound
	}
	return m[0], nil
}

func (r *Reader) messages(ctx context.Context, org domain.OrgID, ids []string) ([]Message, error) {
	var rows []messageRow
	err := r.ask(ctx, org, func(b *batch) {
		b.Queue(`SELECT `+messageColumns+` FROM views.messages m WHERE m.org = $1 AND m.id = ANY($2)`,
			org, ids).Query(scan(&rows))
	})
	if err != nil {
		return nil, wrap("ask for messages", err)
	}
	return r.openMessages(ctx, org, rows)
}

// Message answers with a message of the caller's by its id.
func (r *Reader) Message(ctx context.Context, who domain.Principal, id domain.MessageID) (Message, error) {
	m, err := r.messages(ctx, who.Org, []string{string(id)})
	if err != nil {
		return Message{}, err
	}
	if len(m) == 0 || m[0].owner != string(who.User) {
		return Message{}, domain.ErrNotFound
	}
	return m[0], nil
}

// Orphan is a reply whose producer may be gone.
type Orphan struct {
	Org     domain.OrgID
	Session domain.SessionID // empty: a stateless completion's
	Reply   domain.ReplyID
}

// Orphans lists the replies that are under way and whose producer was started anew since, was not heard for so long,
// or should have ended them so long ago. It looks over the wall: it is asked by the program itself.
func (r *Reader) Orphans(ctx context.Context, silence time.Duration) ([]Orphan, error) {
	var all []Orphan
	b := r.batch()
	b.Queue(`SELECT set_config('role', 'prelude_proj', true)`)
	b.Queue(`SELECT m.org, m.session, m.id AS reply FROM views.messages m
		LEFT JOIN prelude.instances i ON i.instance = m.instance
		WHERE m.status = 'running' AND (i.boot > m.boot OR i.at < now() - $1::interval OR m.until < now() - $1::interval)`,
		silence).Query(scan(&all))
	return all, wrap("look for lost replies", r.Pool.SendBatch(ctx, &b.Batch).Close())
}
