package llm

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"prelude/commands"
)

const (
	maxLine  = 8 << 20         // bytes of a line, or of a whole reply in one piece
	maxGrace = 5 * time.Second // for the usage, once the reply has finished
	maxDrain = 100 * time.Millisecond
)

var (
	dataField = []byte("data:")
	done      = []byte("[DONE]")
	fields    = [][]byte{[]byte(":"), []byte("event:"), []byte("id:"), []byte("retry:")}
)

// reply reads one reply from a server: server-sent events, each line of data one piece, or the
// whole as one JSON value where the server does not stream.
type reply struct {
	watch *watch
	in    *bufio.Reader
	long  []byte // a line that did not fit the reader
	shape shape  // of the pieces seen last
	runes runes

	begun    bool // the first byte has been looked at
	started  bool // a piece of the reply has been given
	finished bool // the model said why it stopped
	failing  bool // the server announced an error
	over     bool
}

func newReply(w *watch, body io.Reader) *reply {
	return &reply{watch: w, in: bufio.NewReader(watched{w, body})}
}

// next returns the next piece that says something; io.EOF after the last. Once the model has said
// why it stopped, the reply is whole, so nothing that goes wrong later is an error.
func (r *reply) next(ctx context.Context) (commands.Chunk, error) {
	for !r.over {
		if ctx.Err() != nil {
			return r.end(ctx.Err())
		}
		if !r.begun && r.whole() {
			return r.single()
		}
		data, err := r.data()
		if err != nil {
			return r.end(err)
		}
		if bytes.Equal(data, done) {
			return r.done()
		}
		chunk, alive, err := r.decode(data)
		if err != nil {
			return r.end(err)
		}
		says := chunk.Text != "" || chunk.ToolCalls != nil || chunk.Finish != ""
		r.breathe(alive || says, chunk)
		if says || chunk.Usage != nil {
			return chunk, nil
		}
	}
	return commands.Chunk{}, io.EOF
}

// breathe notes what has arrived and says how long the next piece may take.
func (r *reply) breathe(alive bool, chunk commands.Chunk) {
	r.started = r.started || chunk.Text != "" || chunk.ToolCalls != nil
	r.finished = r.finished || chunk.Finish != ""
	switch {
	case r.finished:
		r.watch.rest(min(maxGrace, r.watch.limits.BetweenTokens))
	case r.started && alive:
		r.watch.rest(r.watch.limits.BetweenTokens)
	case alive: // it thinks aloud
		r.watch.rest(r.watch.limits.FirstToken)
	}
}

func (r *reply) end(err error) (commands.Chunk, error) {
	r.over = true
	if r.finished {
		return commands.Chunk{}, io.EOF
	}
	return commands.Chunk{}, err
}

// done ends a reply that the server says is whole.
func (r *reply) done() (commands.Chunk, error) {
	r.over = true
	r.drain()
	if r.finished {
		return commands.Chunk{}, io.EOF
	}
	if r.runes.torn() {
		return commands.Chunk{}, garbage()
	}
	return commands.Chunk{Finish: "stop"}, nil
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
		line, err := r.line()
		data, ok := bytes.CutPrefix(line, dataField)
		data = bytes.TrimSpace(data)
		switch {
		case err != nil && ok && (bytes.Equal(data, done) || jsontext.Value(data).IsValid()):
			return data, nil // what is whole needs no end of line
		case err != nil && !ok && !begun(line):
			return nil, garbage()
		case err != nil:
			return nil, err
		case ok && len(data) > 0:
			return data, nil
		case !ok && !field(line):
			return nil, garbage()
		}
		r.failing = r.failing || string(line) == "event: error" || string(line) == "event:error"
	}
}

// field reports whether line may stand in a stream of events besides data.
func field(line []byte) bool {
	for _, f := range fields {
		if bytes.HasPrefix(line, f) {
			return true
		}
	}
	return len(line) == 0
}

// begun reports whether line, which was cut off, may be the beginning of one of a stream of events.
func begun(line []byte) bool {
	if field(line) || bytes.HasPrefix(dataField, line) {
		return true
	}
	for _, f := range fields {
		if bytes.HasPrefix(f, line) {
			return true
		}
	}
	return false
}

// line returns the next line without its end; with an error, what there is of it.
func (r *reply) line() ([]byte, error) {
	line, err := r.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		r.long = r.long[:0]
		for errors.Is(err, bufio.ErrBufferFull) {
			if r.long = append(r.long, line...); len(r.long) > maxLine {
				return nil, garbage()
			}
			line, err = r.in.ReadSlice('\n')
		}
		r.long = append(r.long, line...)
		line = r.long
	}
	if err != nil {
		return line, cut(r.started) // its own text may quote the server
	}
	return bytes.TrimSuffix(line[:len(line)-1], []byte("\r")), nil
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
		if err != nil || first[0] != ' ' && first[0] != '\n' && first[0] != '\r' {
			return err == nil && first[0] == '{'
		}
		_, _ = r.in.Discard(1)
	}
}
