package llm

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"prelude/commands"
	"prelude/domain/answer"
)

const (
	maxLine  = 8 << 20         // bytes of a line, or of a whole reply in one piece
	maxGrace = 5 * time.Second // for the usage, once the reply has finished
	maxDrain = 100 * time.Millisecond
)

var done = []byte("[DONE]")

// reply reads one reply from a server: server-sent events, the data of each one piece, or the
// whole as one JSON value where the server does not stream.
type reply struct {
	watch  *watch
	events events
	in     *bufio.Reader
	shape  shape // of the pieces seen last
	says   says
	ready  []commands.Chunk // that were read and not given yet

	begun    bool // the first byte has been looked at
	started  bool // a piece of the reply has been given
	answers  bool // there was more than thoughts
	finished bool // the model said why it stopped
	failing  bool // the server announced an error
	over     bool
}

func newReply(w *watch, body io.Reader) *reply {
	in := bufio.NewReader(&lineFeeds{from: watched{w, body}})
	r := &reply{watch: w, in: in}
	r.events = events{in: in, comment: r.works}
	return r
}

// next returns the next piece that says something; io.EOF after the last. Once the model has said
// why it stopped, the reply is whole, so nothing that goes wrong later is an error.
func (r *reply) next(ctx context.Context) (commands.Chunk, error) {
	for {
		if len(r.ready) > 0 {
			chunk := r.ready[0]
			r.ready = r.ready[1:]
			r.started = r.started || chunk.Text != "" || chunk.Pieces != nil
			return chunk, nil
		}
		if r.over {
			return commands.Chunk{}, io.EOF
		}
		if err := r.read(ctx); err != nil {
			r.over = true
			if r.finished {
				err = io.EOF
			}
			return commands.Chunk{}, err
		}
	}
}

// read reads what is ready next.
func (r *reply) read(ctx context.Context) error {
	r.ready = r.ready[:0]
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if !r.begun && r.whole() {
		return r.single()
	}
	data, err := r.data()
	if err != nil {
		return err
	}
	if bytes.Equal(data, done) {
		return r.done()
	}
	alive, err := r.decode(data)
	if err != nil {
		return err
	}
	r.breathe(alive)
	return nil
}

// works has a model that says nothing yet be waited for longer: it may be loaded first, and says so in comments.
func (r *reply) works() {
	if !r.answers {
		r.watch.rest(r.watch.limits.FirstToken)
	}
}

// breathe notes what has arrived and says how long the next piece may take.
func (r *reply) breathe(alive bool) {
	for _, chunk := range r.ready {
		r.answers = r.answers || chunk.Text != "" || slices.ContainsFunc(chunk.Pieces, func(p answer.Piece) bool {
			return p.Kind != answer.Reasoning && p.Place == answer.InMessage
		})
		r.finished = r.finished || chunk.Finish != ""
	}
	switch {
	case r.finished:
		r.watch.rest(min(maxGrace, r.watch.limits.BetweenTokens))
	case r.answers && alive:
		r.watch.rest(r.watch.limits.BetweenTokens)
	case alive: // it thinks aloud
		r.watch.rest(r.watch.limits.FirstToken)
	}
}

// done ends a reply that the server says is whole.
func (r *reply) done() error {
	r.over = true
	r.drain()
	if r.finished {
		return nil
	}
	finish := r.says.ending()
	if err := r.says.finish(finish); err != nil {
		return err
	}
	r.ready = r.says.flush(r.ready, commands.Chunk{Finish: finish})
	return nil
}

// drain reads the few bytes after the reply, because a connection is used again only if nothing is
// left in it.
func (r *reply) drain() {
	r.watch.rest(maxDrain)
	_, _ = io.CopyN(io.Discard, r.in, 4<<10)
}

// data returns the data of the next event. Its bytes are good until the next call.
func (r *reply) data() ([]byte, error) {
	for {
		data, kind, err := r.events.next()
		switch {
		case errors.Is(err, errLong), err != nil && (r.events.strange || r.says.odd) && len(data) == 0:
			return nil, garbage()
		case err != nil && (bytes.Equal(data, done) || jsontext.Value(data).IsValid()):
			return data, nil // what is whole needs no end of line
		case err != nil:
			return nil, cut(r.started) // its own text may quote the server
		}
		r.failing = r.failing || string(kind) == "error"
		if len(data) > 0 && (data[0] == '{' || data[0] == '[' || bytes.Equal(data, done) || r.failing) {
			return data, nil
		}
		r.events.strange = r.events.strange || len(data) > 0 // a word to keep the connection open
	}
}

// whole looks at the first byte and reports whether the reply comes as one JSON value. A stream of
// events cannot begin with a brace.
func (r *reply) whole() bool {
	r.begun = true
	if bom, err := r.in.Peek(3); err == nil && string(bom) == "\uFEFF" {
		_, _ = r.in.Discard(3)
	}
	for {
		first, err := r.in.Peek(1)
		if err != nil || !bytes.ContainsAny(first, " \t\r\n") {
			return err == nil && first[0] == '{'
		}
		_, _ = r.in.Discard(1)
	}
}
