package esnode

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
)

// What one call of BatchAppend may have under way; beyond it nothing more is read until answers
// have gone out, so a client that sends faster than the disk takes is slowed down.
const (
	batchWaiting = 4096
	batchHeld    = maxAppend
	batchParts   = 1024 // appends of which the last message has not come
)

// longestWait is how long an append of a batch may wait for the writer, whatever its caller asks.
const longestWait = 10 * time.Second

// BatchAppend takes many appends over one call, which may last for hours. They are decided on in
// the order in which they become whole, and answered as they become durable.
func (s *service) BatchAppend(stream api.Streams_BatchAppendServer) error {
	c := &batchCall{
		ctx: stream.Context(), stream: stream, writer: s.writer,
		parts: map[uuid.UUID]*batched{},
		wake:  make(chan struct{}, 1),
		room:  make(chan struct{}, 1),
	}
	// It ends with the call's context; the node waits for it before it closes the writer.
	s.readers.Go(c.read)
	return statusOf(c.ctx, c.answer(s.closing))
}

// batchCall is one call of BatchAppend. One goroutine reads and hands in, another sends; none is
// made for an append.
type batchCall struct {
	ctx    context.Context
	stream api.Streams_BatchAppendServer
	writer *writer

	parts map[uuid.UUID]*batched // what has not come whole; the reader's own
	held  int                    // bytes in parts

	mu      sync.Mutex
	done    []*batched // outcomes that are to be sent
	waiting int        // appends that were handed in and are not answered
	bytes   int        // their size
	ended   bool       // nothing more is handed in
	fault   error      // why; nil at the client's half-close
	wake    chan struct{}
	room    chan struct{}
}

// batched is one append of a batch.
type batched struct {
	request
	appending
	call  *batchCall
	id    *shared.UUID // of the append, in the form in which it came
	name  *shared.StreamIdentifier
	fault error // the caller's mistake
}

func (c *batchCall) read() { c.end(c.receive()) }

// end says that nothing more is handed in. The first reason counts.
func (c *batchCall) end(err error) {
	c.mu.Lock()
	if !c.ended {
		c.ended, c.fault = true, err
	}
	c.mu.Unlock()
	signal(c.wake)
	signal(c.room)
}

func (c *batchCall) receive() error {
	for {
		req, err := c.stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = c.take(req)
		}
		if err != nil {
			return err
		}
	}
}

// take adds a message to its append, and hands the append in when it is whole. An error ends the
// call; a mistake in one append does not, and is its answer.
func (c *batchCall) take(req *api.BatchAppendReq) error {
	id, err := uuidOf(req.GetCorrelationId())
	if err != nil {
		return &invalid{text: "an append needs a correlation id"}
	}
	b, ok := c.parts[id]
	if !ok {
		b = &batched{call: c, id: req.GetCorrelationId()}
		b.begin(req.GetOptions(), time.Now())
	}
	before := b.bytes
	b.extend(req.GetProposedMessages())
	if req.GetIsFinal() {
		delete(c.parts, id)
		c.held -= before
		return c.submit(b)
	}
	c.parts[id] = b
	c.held += b.bytes - before
	if c.held > batchHeld || len(c.parts) > batchParts {
		return &invalid{text: "too many appends are not final"}
	}
	return nil
}

func (b *batched) begin(o *api.BatchAppendReq_Options, now time.Time) {
	b.request = request{ctx: b.call.ctx, op: &b.appending, done: b.finished}
	if o == nil {
		b.fault = &invalid{text: "an append begins with its options"}
		return
	}
	b.name = o.GetStreamIdentifier()
	b.until = deadline(o, now)
	if b.stream, b.fault = streamName(b.name); b.fault == nil {
		b.expected, b.fault = expectation(o.GetExpectedStreamPosition())
	}
}

// deadline gives when an append is no longer begun, as its caller wants it; zero where it says nothing.
// Clients ask for up to 10,000 years.
func deadline(o *api.BatchAppendReq_Options, now time.Time) time.Time {
	switch d := o.GetDeadlineOption().(type) {
	case *api.BatchAppendReq_Options_Deadline:
		return now.Add(d.Deadline.AsDuration()) // which saturates
	case *api.BatchAppendReq_Options_Deadline_21_10_0:
		return d.Deadline_21_10_0.AsTime()
	}
	return time.Time{}
}

// whole says that an append has come whole: how long it took to come is its caller's matter.
func (b *batched) whole(now time.Time) {
	if most := now.Add(longestWait); b.until.IsZero() || most.Before(b.until) {
		b.until = most
	}
}

func (b *batched) extend(events []*api.BatchAppendReq_ProposedMessage) {
	for _, e := range events {
		if b.fault == nil {
			b.fault = b.add(e)
		}
	}
	if b.fault != nil {
		b.events, b.bytes = nil, 0
	}
}

// submit hands an append to the writer, when there is room for one more.
func (c *batchCall) submit(b *batched) error {
	for {
		ok, err := c.admit(b.bytes)
		if err != nil {
			return err
		}
		if ok {
			break
		}
		select {
		case <-c.room:
		case <-c.ctx.Done():
			return c.ctx.Err()
		}
	}
	b.whole(time.Now())
	if b.err = b.fault; b.err == nil {
		return c.writer.hand(&b.request)
	}
	b.finished() // a mistake needs no writer
	return nil
}

// admit counts an append as under way, unless too much is. One larger than all may be is taken when
// it is alone. The error says that the call has ended, and nothing more is taken.
func (c *batchCall) admit(bytes int) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return false, errStopping
	}
	if c.waiting > 0 && (c.waiting >= batchWaiting || c.bytes+bytes > batchHeld) {
		return false, nil
	}
	c.waiting++
	c.bytes += bytes
	return true, nil
}

// finished gives the outcome to the call; the writer calls it.
func (b *batched) finished() {
	c := b.call
	c.mu.Lock()
	c.done = append(c.done, b)
	c.mu.Unlock()
	signal(c.wake)
}

// answer sends outcomes until the call has ended and all that was handed in is answered. When the
// node closes, the call ends.
func (c *batchCall) answer(closing <-chan struct{}) error {
	var spare []*batched
	for {
		select {
		case <-c.wake:
		case <-closing:
			c.end(errStopping)
			closing = nil
		case <-c.ctx.Done():
			return c.ctx.Err()
		}
		c.mu.Lock()
		done := c.done
		c.done = spare[:0]
		c.mu.Unlock()
		bytes := 0
		for _, b := range done {
			if err := c.stream.Send(b.response()); err != nil {
				return err
			}
			bytes += b.bytes
		}
		if c.settle(len(done), bytes) {
			return c.fault
		}
		clear(done)
		spare = done
	}
}

// settle takes answered appends off the count and says whether the call is over.
func (c *batchCall) settle(answered, bytes int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting -= answered
	c.bytes -= bytes
	signal(c.room)
	return c.ended && c.waiting == 0
}

// signal wakes the one who waits on a channel of one place, now or when it next looks.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
