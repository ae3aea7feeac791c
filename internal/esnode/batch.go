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
	batchHeld    = 64 << 20
	batchParts   = 1024 // appends of which the last message has not come
)

// longestWait is how long an append of a batch may take to come whole and to wait for the writer, whatever
// its caller asks.
const longestWait = 10 * time.Second

// BatchAppend takes many appends over one call, which may last for hours. They are decided on in
// the order in which they become whole, and answered as they become durable.
func (s *service) BatchAppend(stream api.Streams_BatchAppendServer) error {
	c := &batchCall{
		ctx: stream.Context(), stream: stream, writer: s.writer, limit: s.limit,
		parts: map[uuid.UUID]*batched{},
		wake:  make(chan struct{}, 1),
		room:  make(chan struct{}, 1),
	}
	// It ends with the call's context; the node waits for it before it closes the writer.
	s.readers.Go(c.read)
	return statusOf(c.ctx, c.answer(s.ending()))
}

// batchCall is one call of BatchAppend. One goroutine reads and hands in, another sends; none is
// made for an append.
type batchCall struct {
	ctx    context.Context
	stream api.Streams_BatchAppendServer
	writer *writer
	limit  int // of an append, in bytes

	mu      sync.Mutex
	parts   map[uuid.UUID]*batched // what has not come whole
	held    int                    // bytes in parts
	done    []*batched             // outcomes that are to be sent
	waiting int                    // appends that were handed in and are not answered
	bytes   int                    // their size
	ended   bool                   // nothing more is handed in
	fault   error                  // why; nil at the client's half-close
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
	timer *time.Timer
}

func (c *batchCall) read() {
	err := c.receive()
	c.mu.Lock()
	for _, b := range c.parts {
		b.timer.Stop()
	}
	clear(c.parts)
	c.mu.Unlock()
	c.end(err)
}

// end says that nothing more is handed in. The first reason counts, unless it was the client's half-close.
func (c *batchCall) end(err error) {
	c.mu.Lock()
	if !c.ended || c.fault == nil {
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
	b := c.part(id)
	if b == nil {
		b = &batched{call: c, id: req.GetCorrelationId()}
		b.limit = c.limit
		b.begin(req.GetOptions(), time.Now())
	}
	b.extend(req.GetProposedMessages())
	if req.GetIsFinal() {
		return c.submit(b)
	}
	return c.keep(id, b)
}

// part takes an append of which some has come out of those that wait for more; nil: there is none.
func (c *batchCall) part(id uuid.UUID) *batched {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.parts[id]
	if b != nil {
		b.timer.Stop()
		delete(c.parts, id)
		c.held -= b.bytes
	}
	return b
}

// keep lets an append wait for more of it, until its deadline.
func (c *batchCall) keep(id uuid.UUID, b *batched) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.parts[id] = b
	c.held += b.bytes
	b.timer = time.AfterFunc(time.Until(b.until), func() { c.expire(id, b) })
	if c.held > batchHeld || len(c.parts) > batchParts {
		return &invalid{text: "too many appends are not final"}
	}
	return nil
}

// expire answers an append whose end has not come in time.
func (c *batchCall) expire(id uuid.UUID, b *batched) {
	c.mu.Lock()
	late := c.parts[id] == b
	if late {
		delete(c.parts, id)
		c.held -= b.bytes
		c.waiting++
		c.bytes += b.bytes
	}
	c.mu.Unlock()
	if late {
		b.err = context.DeadlineExceeded
		b.finished()
	}
}

func (b *batched) begin(o *api.BatchAppendReq_Options, now time.Time) {
	b.request = request{
		ctx: b.call.ctx, op: &b.appending, done: b.finished, until: now.Add(longestWait),
	}
	if o == nil {
		b.fault = &invalid{text: "an append begins with its options"}
		return
	}
	b.name = o.GetStreamIdentifier()
	if asked := deadline(o, now); !asked.IsZero() && asked.Before(b.until) {
		b.until = asked
	}
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
//
// After the client's half-close it does as a real store: it gives one more answer and ends; where all
// was answered, it does not end before the caller's deadline. Clients for Python half-close after their
// only append, and read its answer.
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
		done, last := c.outcomes(spare[:0])
		bytes := 0
		for _, b := range done {
			if err := c.stream.Send(b.response()); err != nil || last {
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

// outcomes gives what is to be sent and puts spare in its place. last says that after the first of it the
// call ends.
func (c *batchCall) outcomes(spare []*batched) (done []*batched, last bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	done, c.done = c.done, spare
	return done, c.ended && c.fault == nil
}

// settle takes answered appends off the count and says whether the call ends with its fault.
func (c *batchCall) settle(answered, bytes int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting -= answered
	c.bytes -= bytes
	signal(c.room)
	return c.ended && c.waiting == 0 && c.fault != nil
}

// signal wakes the one who waits on a channel of one place, now or when it next looks.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
