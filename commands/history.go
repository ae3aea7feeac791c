package commands

import (
	"context"
	"errors"
	"iter"
	"slices"
	"time"

	"github.com/maypok86/otter/v2"

	"prelude/domain"
	"prelude/domain/receipt"
	"prelude/domain/session"
	"prelude/internal/eventlog"
)

// backwards gives what was said in a session up to a revision, or somewhat later, newest first, opened, until fn has
// enough. Texts that were erased are passed over.
func (e *Engine) backwards(ctx context.Context, stream eventlog.Stream, at eventlog.Revision,
	fn func(said) (more bool, err error)) error {
	t := tail{at: at, whole: true}
	for rec, err := range e.sayings(ctx, stream, at) {
		if err != nil {
			if errors.Is(err, eventlog.ErrChanged) {
				e.tails.Invalidate(stream) // it may be of another past
			}
			return err
		}
		t.records, t.at = append(t.records, rec), max(t.at, rec.Revision)
		more, err := e.tell(ctx, *rec, func(s said) (bool, error) {
			t.bytes += len(s.Text)
			return fn(s)
		})
		if err != nil {
			return err
		}
		if !more {
			t.whole = false
			break
		}
	}
	e.tails.Set(stream, t)
	return nil
}

// tell opens a record and gives what it adds to a conversation, newest first.
func (e *Engine) tell(ctx context.Context, rec eventlog.Record, fn func(said) (bool, error)) (more bool, err error) {
	one := []eventlog.Record{rec}
	if err := e.Log.Open(ctx, one); err != nil {
		return false, err
	}
	for _, said := range slices.Backward(saidIn(one[0])) {
		if said.Text == "" {
			continue // erased
		}
		if more, err := fn(said); err != nil || !more {
			return false, err
		}
	}
	return true, nil
}

// sayings are a session's records with texts, newest first. The log is asked for what is newer than what is
// remembered, if there is any, and then for what is older, so that a turn need not read its whole window.
func (e *Engine) sayings(ctx context.Context, stream eventlog.Stream, at eventlog.Revision,
) iter.Seq2[*eventlog.Record, error] {
	return func(yield func(*eventlog.Record, error) bool) {
		before := eventlog.Last
		if kept, found := e.tails.GetIfPresent(stream); found {
			if kept.at < at {
				newer, err := e.since(ctx, stream, kept.at)
				if err != nil {
					yield(nil, err)
					return
				}
				kept.records = slices.Concat(newer, kept.records)
			}
			for _, rec := range kept.records {
				if !yield(rec, nil) {
					return
				}
			}
			if kept.whole {
				return
			}
			if before = kept.records[len(kept.records)-1].Revision - 1; before < 0 {
				return
			}
		}
		for rec, err := range e.Log.ReadOnly(ctx, stream, before, eventlog.Backwards, texts) {
			if !yield(&rec, err) || err != nil {
				return
			}
		}
	}
}

// since reads the records with texts after a revision, and gives them newest first.
func (e *Engine) since(ctx context.Context, stream eventlog.Stream, after eventlog.Revision,
) (records []*eventlog.Record, err error) {
	for rec, err := range e.Log.ReadOnly(ctx, stream, after+1, eventlog.Forwards, texts) {
		if err != nil {
			return nil, err
		}
		records = append(records, &rec)
	}
	slices.Reverse(records)
	return records, nil
}

// remember adds what was appended to a session to its tail, if that reaches so far.
func (e *Engine) remember(stream eventlog.Stream, was, now eventlog.Revision, events []any) {
	if stream.Category != eventlog.SessionCategory {
		return
	}
	e.tails.Compute(stream, func(old tail, found bool) (tail, otter.ComputeOp) {
		if was == eventlog.None {
			old = tail{at: was, whole: true}
		} else if !found || old.at != was {
			return old, otter.CancelOp
		}
		return old.with(stream, now, events), otter.WriteOp
	})
}

// tail is the end of a conversation as the log holds it, sealed, so that an erasure holds here too: all records with
// texts from one on to a revision, newest first. It is never changed.
type tail struct {
	records []*eventlog.Record
	at      eventlog.Revision
	whole   bool // there is nothing before it; else it has a record
	bytes   int  // of the texts
}

// with is the tail after more events, the last of which is at a revision.
func (t tail) with(stream eventlog.Stream, at eventlog.Revision, events []any) tail {
	for i, event := range events {
		all := saidIn(eventlog.Record{Event: event})
		if len(all) == 0 {
			continue
		}
		rec := eventlog.Record{Stream: stream, Revision: t.at + 1 + eventlog.Revision(i), Event: eventlog.Shut(event)}
		t.records = slices.Concat([]*eventlog.Record{&rec}, t.records)
		for _, s := range all {
			t.bytes += len(s.Text)
		}
	}
	t.at = at
	return t
}

const (
	tailsBytes  = 64 << 20 // about how much all tails may take
	tailBytes   = 512      // about how much one takes without its records
	recordBytes = 512      // about how much a record takes beside its texts
)

type tails = otter.Cache[eventlog.Stream, tail]

func newTails() *tails {
	return otter.Must(&otter.Options[eventlog.Stream, tail]{MaximumWeight: tailsBytes,
		Weigher: func(_ eventlog.Stream, t tail) uint32 {
			return uint32(min(tailBytes+len(t.records)*recordBytes+t.bytes, tailsBytes))
		}})
}

// texts are the events in which something was said.
var texts = []any{session.MessagePosted{}, session.ReplyCompleted{}, session.ReplyFailed{}, session.ReplyCancelled{},
	session.Branched{}}

// said is a text of a conversation, and who wrote it.
type said struct {
	receipt.Piece
	author domain.UserID // empty: a model
	model  string
	at     time.Time
}

// saidIn is what a record adds to a conversation: a message, what there is of a reply, or what a branch took with
// it, the oldest first.
func saidIn(r eventlog.Record) []said {
	switch e := r.Event.(type) {
	case session.MessagePosted:
		return []said{message(e.Message, e.Content, e.Author, e.At)}
	case session.ReplyCompleted:
		return reply(e.Reply, e.Text, e.Model, e.At)
	case session.ReplyFailed:
		return reply(e.Reply, e.Text, e.Model, e.At)
	case session.ReplyCancelled:
		return reply(e.Reply, e.Text, e.Model, e.At)
	case session.Branched:
		var all []said
		for _, c := range e.Carried {
			if c.Reply == "" {
				all = append(all, message(c.Message, c.Text, c.Author, c.At))
			} else {
				all = append(all, reply(c.Reply, c.Text, c.Model, c.At)...)
			}
		}
		return all
	}
	return nil
}

func message(id domain.MessageID, text domain.Secret, author domain.UserID, at time.Time) said {
	return said{author: author, at: at, Piece: receipt.Piece{Role: "user", Text: text.Text, Key: text.Key,
		Source: receipt.Source{Kind: receipt.FromMessage, ID: string(id)}}}
}

// reply is what a reply adds: nothing, if nothing came.
func reply(id domain.ReplyID, text domain.Secret, model string, at time.Time) []said {
	if text.IsZero() {
		return nil
	}
	return []said{{model: model, at: at, Piece: receipt.Piece{Role: "assistant", Text: text.Text, Key: text.Key,
		Source: receipt.Source{Kind: receipt.FromReply, ID: string(id)}}}}
}
