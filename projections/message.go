package projections

import (
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"prelude/domain"
	"prelude/domain/completion"
	"prelude/domain/receipt"
	"prelude/domain/session"
	"prelude/internal/eventlog"
)

// about is all that is known of a message or a reply but its text. Read models read the same JSON.
type about struct {
	Author  domain.UserID          `json:"author,omitempty"`
	Message domain.MessageID       `json:"message,omitempty"` // of a reply: what it answers
	Reply   domain.ReplyID         `json:"reply,omitempty"`   // of a message: what answers it
	Preset  *session.PresetVersion `json:"preset,omitempty"`
	Model   string                 `json:"model,omitempty"`
	At      time.Time              `json:"at"`
	Origin  string                 `json:"origin,omitempty"` // of what a branch took: its id there
	Field   string                 `json:"field,omitempty"`  // in which its text is sealed, if not the usual one
	ending
}

// ending is what an end adds to what was known at the start.
type ending struct {
	Finish     string         `json:"finish_reason,omitempty"`
	Usage      *receipt.Usage `json:"usage,omitempty"`
	Cost       int64          `json:"cost_micros,omitempty"`
	Code       string         `json:"code,omitempty"`
	Detail     string         `json:"detail,omitempty"`
	Retryable  bool           `json:"retryable,omitempty"`
	Upstream   int            `json:"upstream_status,omitempty"`
	RetryAfter int            `json:"retry_after_seconds,omitempty"`
	Length     int            `json:"length_bytes"` // of the text; a message has it too
	EndedAt    *time.Time     `json:"ended_at,omitempty"`
	Parts      domain.Secret  `json:"parts,omitzero"`
	Tools      domain.Secret  `json:"tools"`
	Position   uint64         `json:"position,omitempty"`     // of the start
	EndedPos   uint64         `json:"end_position,omitempty"` // of the end
}

// messageRow is a message or a reply. One whose start lies before the batch carries only its end.
type messageRow struct {
	org, id, session, role, owner, status string
	seq                                   int64
	text                                  domain.Secret
	about                                 about
	producer                              session.Producer
	until                                 *time.Time
	endOnly                               bool
}

func putMessages(b *pgx.Batch, batch []eventlog.Record) error {
	g := gathered{rows: map[string]*messageRow{}}
	for _, rec := range batch {
		g.add(rec)
	}
	var starts, ends []*messageRow
	for _, r := range g.order {
		if r.endOnly {
			ends = append(ends, r)
		} else {
			starts = append(starts, r)
		}
	}
	if err := insertMessages(b, starts); err != nil {
		return err
	}
	return endMessages(b, ends)
}

// gathered folds a batch's events about messages and replies by id.
type gathered struct {
	rows  map[string]*messageRow
	order []*messageRow
}

func (g *gathered) put(r *messageRow) {
	g.rows[r.org+r.id] = r
	g.order = append(g.order, r)
}

func (g *gathered) add(rec eventlog.Record) {
	org := domain.OrgPrefix + rec.Stream.Org
	switch e := rec.Event.(type) {
	case session.MessagePosted:
		g.put(&messageRow{org: org, id: string(e.Message), session: rec.Stream.Object(), role: "user",
			owner: rec.Meta.User, status: "posted", seq: int64(rec.Revision), text: e.Content,
			about: about{Author: e.Author, Reply: e.Reply, At: e.At, ending: ending{Length: e.Length}}})
	case session.Branched:
		g.carried(rec, org, e)
	case session.ReplyStarted:
		g.put(&messageRow{org: org, id: string(e.Reply), session: rec.Stream.Object(), role: "assistant",
			owner: rec.Meta.User, status: "running", seq: int64(rec.Revision), producer: e.Producer,
			until: &e.Until, about: about{Message: e.Message, Preset: e.Preset, Model: e.Model, At: e.At,
				ending: ending{Position: uint64(rec.Position)}}})
	case session.ContextAssembled:
		// It ends the append that began the reply: its position is what the caller was given.
		r := g.rows[org+string(e.Reply)]
		if r == nil {
			r = &messageRow{org: org, id: string(e.Reply), status: "running", endOnly: true}
			g.put(r)
		}
		r.about.Position = uint64(rec.Position)
	case completion.Started:
		g.put(&messageRow{org: org, id: string(e.Reply), role: "assistant", owner: string(e.User),
			status: "running", seq: int64(rec.Revision), producer: e.Producer, until: &e.Until,
			about: about{Preset: e.Preset, Model: e.Manifest.Model, At: e.At,
				ending: ending{Position: uint64(rec.Position)}}})
	case session.ReplyCompleted:
		g.end(rec, org, e.Reply, "completed", e.Text, ending{Parts: e.Parts, Tools: e.Tools, Finish: e.Finish,
			Usage: &e.Usage, Cost: e.Cost, Length: e.Length, EndedAt: &e.At})
	case session.ReplyFailed:
		g.end(rec, org, e.Reply, "failed", e.Text, ending{Parts: e.Parts, Usage: &e.Usage, Length: e.Length, EndedAt: &e.At,
			Code: e.Code, Detail: e.Detail, Retryable: e.Retryable, Upstream: e.Upstream, RetryAfter: e.RetryAfter})
	case session.ReplyCancelled:
		g.end(rec, org, e.Reply, "cancelled", e.Text, ending{Parts: e.Parts, Usage: &e.Usage, Length: e.Length,
			EndedAt: &e.At})
	case completion.Ended:
		g.end(rec, org, domain.ReplyID(rec.Stream.Object()), e.Status, e.Text, ending{
			Parts: e.Parts, Tools: e.Tools, Finish: e.Finish,
			Usage: &e.Usage, Cost: e.Cost, Length: e.Length, EndedAt: &e.At, Code: e.Code, Detail: e.Detail,
			Retryable: e.Retryable, Upstream: e.Upstream, RetryAfter: e.RetryAfter})
	}
}

// carried is what a branch took with it. It lies before all that is said in the branch.
func (g *gathered) carried(rec eventlog.Record, org string, e session.Branched) {
	for i, c := range e.Carried {
		r := &messageRow{org: org, id: string(c.Message), session: rec.Stream.Object(), role: "user", owner: rec.Meta.User,
			status: "posted", seq: int64(i - len(e.Carried)), text: c.Text, about: about{Author: c.Author, Model: c.Model,
				At: c.At, Origin: c.Origin, Field: fmt.Sprintf("carried[%d].text", i), ending: ending{Length: c.Length}}}
		if c.Reply != "" {
			at := c.At
			r.id, r.role, r.status = string(c.Reply), "assistant", "completed"
			r.about.EndedAt, r.about.Finish = &at, "stop"
			r.about.Position, r.about.EndedPos = uint64(rec.Position), uint64(rec.Position)
		}
		g.put(r)
	}
}

func (g *gathered) end(rec eventlog.Record, org string, id domain.ReplyID, status string,
	text domain.Secret, e ending) {
	r := g.rows[org+string(id)]
	if r == nil {
		r = &messageRow{org: org, id: string(id), endOnly: true}
		g.put(r)
	}
	r.status, r.text = status, text
	e.Position, e.EndedPos = r.about.Position, uint64(rec.Position)
	r.about.ending = e
}

func insertMessages(b *pgx.Batch, rows []*messageRow) error {
	if len(rows) == 0 {
		return nil
	}
	abouts, err := texts(rows, func(r *messageRow) any { return r.about })
	if err != nil {
		return err
	}
	b.Queue(`INSERT INTO messages (org, id, session, seq, role, owner, status, key_id, sealed, about,
			instance, boot, until)
		SELECT org, id, session, seq, role, owner, status, key_id, sealed, about::jsonb, instance, boot, until
		FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[],
			$8::text[], $9::bytea[], $10::text[], $11::text[], $12::bigint[], $13::timestamptz[])
			AS u (org, id, session, seq, role, owner, status, key_id, sealed, about, instance, boot, until)
		ON CONFLICT DO NOTHING`,
		column(rows, func(r *messageRow) string { return r.org }),
		column(rows, func(r *messageRow) string { return r.id }),
		column(rows, func(r *messageRow) string { return r.session }),
		column(rows, func(r *messageRow) int64 { return r.seq }),
		column(rows, func(r *messageRow) string { return r.role }),
		column(rows, func(r *messageRow) string { return r.owner }),
		column(rows, func(r *messageRow) string { return r.status }),
		column(rows, func(r *messageRow) string { return string(r.text.Key) }),
		column(rows, func(r *messageRow) []byte { return r.text.Sealed }),
		abouts,
		column(rows, func(r *messageRow) string { return r.producer.Instance }),
		column(rows, func(r *messageRow) int64 { return r.producer.Boot }),
		column(rows, func(r *messageRow) *time.Time { return r.until }),
	)
	return nil
}

// endMessagesSQL looks among the replies that are running, for which there is an index of its own.
const endMessagesSQL = `UPDATE messages AS t SET status = u.status, key_id = u.key_id, sealed = u.sealed,
		about = t.about || u.about::jsonb
	FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::text[])
		AS u (org, id, status, key_id, sealed, about)
	WHERE t.org = u.org AND t.id = u.id AND t.status = 'running'`

// endMessages ends replies that began in an earlier batch.
func endMessages(b *pgx.Batch, rows []*messageRow) error {
	if len(rows) == 0 {
		return nil
	}
	abouts, err := texts(rows, func(r *messageRow) any { return r.about.ending })
	if err != nil {
		return err
	}
	b.Queue(endMessagesSQL,
		column(rows, func(r *messageRow) string { return r.org }),
		column(rows, func(r *messageRow) string { return r.id }),
		column(rows, func(r *messageRow) string { return r.status }),
		column(rows, func(r *messageRow) string { return string(r.text.Key) }),
		column(rows, func(r *messageRow) []byte { return r.text.Sealed }),
		abouts,
	)
	return nil
}
