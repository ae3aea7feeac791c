package api

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/tmaxmax/go-sse"

	"prelude/commands"
)

const (
	heartbeat = 15 * time.Second // how often a comment keeps a stream open
	writeFor  = 30 * time.Second
)

// errGone ends a stream that nobody reads, or nobody may read, any more.
var errGone = errors.New("the stream's reader has left")

// events writes server-sent events; after the first that cannot be written nothing more is.
type events struct {
	out     http.ResponseWriter
	control *http.ResponseController
	valid   func() bool // the key that it was opened with
	gone    bool
	waiting bool // who reads was told that the reply's end is not recorded yet
	json    bytes.Buffer
	piece   []byte       // the JSON of a piece of text
	text    bytes.Buffer // of the event that is being written
	beat    *time.Ticker // when a comment is due
}

// eventStream begins a stream of events, which close ends.
func (s *Server) eventStream(hc huma.Context) *events {
	hc.SetHeader("Content-Type", "text/event-stream")
	hc.SetHeader("Cache-Control", "no-store")
	hc.SetHeader("X-Accel-Buffering", "no")
	hc.SetStatus(http.StatusOK)
	_, rw := humachi.Unwrap(hc)
	w := &events{out: rw, control: http.NewResponseController(rw), beat: time.NewTicker(heartbeat),
		valid: func() bool { return s.Authn.Valid(hc.Context(), keyOfRequest(hc.Context())) }}
	w.flush()
	return w
}

func (e *events) close() { e.beat.Stop() }

// next waits for more of a reply, after so many bytes and so many pieces of tool calls, with a comment now and then.
func (e *events) next(ctx context.Context, r *commands.Run, at, seen int) (commands.Progress, error) {
	for !e.gone {
		p, more, err := r.Look(at, seen)
		if more == nil {
			return p, err
		}
		if r.Pending() && !e.waiting {
			e.waiting = true
			e.comment("waiting for the event store")
		}
		select {
		case <-more:
		case <-e.beat.C:
			e.comment(keepAlive)
		case <-ctx.Done():
			return p, context.Cause(ctx)
		}
	}
	return commands.Progress{}, errGone
}

// send writes one event and flushes it.
func (e *events) send(id, name string, data any) { e.event(id, name, e.encode(data)) }

// delta writes the event of a piece of a reply's text.
func (e *events) delta(id string, text []byte) {
	e.event(id, "reply.delta", e.around(`{"text":`, text, `}`))
}

// around is the JSON of a piece of text, good until the next. There is one for each token, so nothing but the text is
// encoded.
func (e *events) around(before string, text []byte, after string) []byte {
	b, _ := jsontext.AppendQuote(append(e.piece[:0], before...), text) // what is not UTF-8 is replaced
	e.piece = append(b, after...)
	return e.piece
}

// frame is the JSON of a chunk without its text, which is empty in it: what is before it, and what comes after.
func (e *events) frame(chunk any) (before, after string) {
	const field = `"content":` // not within a string: there the quotes are escaped
	before, after, _ = strings.Cut(string(e.encode(chunk)), field+`""`)
	return before + field, after
}

func (e *events) event(id, name string, data []byte) {
	var m sse.Message
	m.ID, m.Type = sse.ID(id), sse.Type(name)
	m.AppendData(string(data))
	e.message(&m)
}

const keepAlive = "keep-alive"

// comment keeps the stream open, if its key is valid still.
func (e *events) comment(text string) {
	if e.gone = e.gone || !e.valid(); e.gone {
		return
	}
	var m sse.Message
	m.AppendComment(text)
	e.message(&m)
}

// data writes an event without an id or a name.
func (e *events) data(v any) { e.raw(e.encode(v)) }

func (e *events) raw(data []byte) {
	var m sse.Message
	m.AppendData(string(data))
	e.message(&m)
}

// encode is the JSON of data on one line, good until the next; where it has none, nothing more is written.
func (e *events) encode(data any) []byte {
	e.json.Reset()
	if err := format.Marshal(&e.json, data); err != nil {
		e.gone = true
	}
	return bytes.TrimSuffix(e.json.Bytes(), []byte("\n"))
}

// message writes what is whole, at once, and flushes it.
func (e *events) message(m *sse.Message) {
	if e.gone {
		return
	}
	e.text.Reset()
	_, _ = m.WriteTo(&e.text)                                // a buffer takes all
	_ = e.control.SetWriteDeadline(time.Now().Add(writeFor)) // where it is not supported, none is kept
	if _, err := e.out.Write(e.text.Bytes()); err != nil {
		e.gone = true
		return
	}
	e.flush()
}

func (e *events) flush() {
	if e.control.Flush() != nil {
		e.gone = true
	}
}
