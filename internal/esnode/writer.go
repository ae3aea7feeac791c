package esnode

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"
)

const (
	batchRequests = 512
	batchBytes    = 8 << 20
	queued        = 1024
)

// operation is a change that the writer decides on and carries out.
type operation interface {
	apply(w *writer) (result, error)
	size() int
}

// result says where an operation left its stream.
type result struct {
	rev      int64 // -1: no events
	pos      int64 // 0: no position
	inFlight bool  // it repeats what is not yet acknowledged
}

// request is an operation on its way. Its outcome is in it when done is called, by the writer,
// which must not be kept waiting.
type request struct {
	ctx   context.Context
	until time.Time // after it the operation is not begun; zero for none
	op    operation
	done  func()
	result
	err error
}

// stale says why an operation need not be begun any more.
func (r *request) stale() error {
	if !r.until.IsZero() && !time.Now().Before(r.until) {
		return context.DeadlineExceeded
	}
	return r.ctx.Err()
}

// writer is the one goroutine that changes the log. Everything in it is its own; what it has
// decided but not yet committed is in touched and the numbers, and is forgotten when a commit
// fails.
type writer struct {
	book   *logbook
	file   string
	conn   *conn // nil while a fault of the disk lasts
	queue  chan *request
	done   chan struct{}
	logger *slog.Logger
	now    func() time.Time

	moods     *Moods
	publisher *publisher      // nil: a commit is visible at once
	canceled  <-chan struct{} // closed when appends under way are canceled; nil: they are not

	touched map[string]*state
	hidden  map[string]hidden // what was committed and may not be visible yet
	handed  int64             // position of the last event that the publisher was given
	added   []record          // since the last commit
	at      counters
	safe    counters // as of the last commit
	begun   int64    // position of the last event when the node started
	enc     encoder
	recent  *recent
	fault   fault
}

// counters are where the log stands: its last event, where the next one goes, the next stream's id,
// and the newest time in it.
type counters struct{ last, next, stream, ticks int64 }

// hidden is a stream's state as a commit left it that is visible from a position on.
type hidden struct {
	state
	durable int64
}

func newWriter(
	book *logbook, file string, c *conn, logger *slog.Logger, moods *Moods,
) (*writer, error) {
	w := &writer{
		book: book, file: file, conn: c, logger: logger, now: time.Now, moods: moods,
		hidden:  map[string]hidden{},
		queue:   make(chan *request, queued),
		done:    make(chan struct{}),
		touched: map[string]*state{},
	}
	if err := w.resume(); err != nil {
		return nil, fmt.Errorf("read the log's end: %w", err)
	}
	w.begun = w.at.last
	if moods != nil {
		w.publisher = newPublisher(book)
	}
	return w, nil
}

// resume finds where the log ends.
func (w *writer) resume() error {
	w.at = counters{next: 1}
	err := eachRecord(w.conn.allBack, func(r record) (bool, error) {
		f, err := decode(r.frame)
		w.at = counters{last: r.pos, next: r.end(), ticks: f.created}
		return false, err
	}, int64(0), int64(math.MaxInt64), int64(1))
	if err != nil {
		return w.conn.named(err)
	}
	w.at.stream, err = w.conn.number("SELECT coalesce(max(id), 0) + 1 FROM streams")
	if err == nil && w.at.last < w.safe.last {
		err = errShorter
	}
	if err != nil {
		return err
	}
	w.safe = w.at
	w.book.reset(w.at.last)
	return nil
}

// submit hands an operation to the writer and waits until its outcome is durable.
func (w *writer) submit(ctx context.Context, op operation) (result, error) {
	done := make(chan struct{})
	r := &request{ctx: ctx, op: op, done: func() { close(done) }}
	if err := w.hand(r); err != nil {
		return result{}, err
	}
	select {
	case <-done:
		return r.result, r.err
	case <-w.canceled:
		return result{}, errCanceled
	case <-ctx.Done():
		return result{}, ctx.Err()
	}
}

var errCanceled = &timedOut{"Request canceled by server"}

// hand puts a request into the queue; requests of one caller are carried out in their order.
func (w *writer) hand(r *request) error {
	select {
	case w.queue <- r:
		return nil
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
}

// run works until the queue is closed.
func (w *writer) run() {
	defer close(w.done)
	if w.publisher != nil {
		go w.publisher.run()
		defer w.publisher.stop()
	}
	batch := make([]*request, 0, batchRequests)
	for first := range w.queue {
		batch = w.gather(append(batch[:0], first))
		w.answer(batch, w.commit(batch))
		clear(batch)
	}
}

// gather adds what else is waiting.
func (w *writer) gather(batch []*request) []*request {
	bytes := batch[0].op.size()
	for len(batch) < batchRequests && bytes < batchBytes {
		select {
		case r, ok := <-w.queue:
			if !ok {
				return batch
			}
			batch = append(batch, r)
			bytes += r.op.size()
		default:
			return batch
		}
	}
	return batch
}

// commit carries out a batch in one transaction, and gives what is to be made visible. An answer may
// rest on what an earlier request of the batch wrote, so all of them, refusals too, are given only
// after it is durable.
func (w *writer) commit(batch []*request) (p publication) {
	err := w.mend()
	if err == nil {
		err = w.conn.begin.do()
	}
	for _, r := range batch {
		if err != nil {
			break
		}
		if r.err = r.stale(); r.err != nil {
			continue
		}
		before := w.at
		r.result, r.err = r.op.apply(w)
		// Damage is the matter of the stream that has it, as long as nothing was written.
		if alone := errors.Is(r.err, errDamaged) && w.at == before; alone {
			r.err = w.conn.named(r.err)
		} else if r.err != nil && !isRefusal(r.err) {
			err = r.err
		}
	}
	if err == nil {
		err = w.conn.commit.do()
	}
	if err != nil {
		w.undo(err)
		for _, r := range batch {
			r.result, r.err = result{}, &unavailable{err}
		}
		return p
	}
	if w.at.last != w.safe.last {
		p = publication{durable: w.at.last, changed: w.touched, added: w.added}
	}
	w.safe = w.at
	return p
}

// answer makes a commit visible and gives the outcomes of its batch. Refusals overtake the rest, as they
// do in a real store.
func (w *writer) answer(batch []*request, p publication) {
	if w.publisher != nil {
		w.answerLater(batch, p)
		return
	}
	w.book.show(&p)
	w.forget()
	refuse(batch)
	for _, r := range batch {
		if r.err == nil {
			r.done()
		}
	}
}

func refuse(batch []*request) {
	for _, r := range batch {
		if r.err != nil {
			r.done()
		}
	}
}

// answerLater refuses at once, and leaves the rest to the publisher.
func (w *writer) answerLater(batch []*request, p publication) {
	if w.book.durable.Load() >= w.handed {
		clear(w.hidden) // all of it is visible by now
	}
	for name, s := range p.changed {
		w.hidden[name] = hidden{*s, p.durable}
	}
	refuse(batch)
	for _, r := range batch {
		switch {
		case r.err != nil:
		case r.inFlight && w.moods.CommitTimeout > 0:
			time.AfterFunc(w.moods.CommitTimeout, r.expire)
		default:
			p.acks = append(p.acks, r)
		}
	}
	if p.changed != nil {
		p.at, w.handed = time.Now().Add(w.moods.lag()), p.durable
	}
	w.touched, w.added = map[string]*state{}, nil // they are the publication's now
	w.publisher.queue <- p
}

// expire says of a repeat of what was in flight that it timed out.
func (r *request) expire() {
	r.result, r.err = result{}, &timedOut{"Commit phase timeout"}
	r.done()
}

// forget makes ready for the next batch.
func (w *writer) forget() {
	clear(w.touched)
	clear(w.added)
	w.added = w.added[:0]
}

// undo forgets a batch that was not committed.
func (w *writer) undo(err error) {
	w.at, w.recent = w.safe, nil
	w.forget()
	if w.conn == nil {
		return // what is wrong has been said
	}
	w.logger.Error("event store write failed", "error", err)
	// SQLite has rolled back by itself after some errors; then there is nothing to roll back.
	_ = w.conn.rollback.do()
	w.suspect(err)
}

// state gives a stream's state as of the operations before, to read and to change.
func (w *writer) state(stream string) (*state, error) {
	if s, ok := w.touched[stream]; ok {
		return s, nil
	}
	s, err := w.committed(stream)
	if err != nil {
		return nil, fmt.Errorf("look up a stream: %w", err)
	}
	w.touched[stream] = &s
	return &s, nil
}

// committed gives a stream's state as the last commit left it.
func (w *writer) committed(stream string) (state, error) {
	if h, ok := w.hidden[stream]; ok && h.durable > w.book.durable.Load() {
		return h.state, nil
	}
	if s, ok, _, _ := w.book.cached(stream); ok {
		return s, nil
	}
	return w.conn.load(stream, math.MaxInt64)
}

// write adds an event to a stream at a revision and gives its position.
func (w *writer) write(stream string, s *state, rev int64, ev *event) (int64, error) {
	if s.id == 0 {
		if err := w.conn.addStream.do(w.at.stream, []byte(stream)); err != nil {
			return 0, fmt.Errorf("add a stream: %w", err)
		}
		s.id = w.at.stream
		w.at.stream++
	}
	// A clock that steps back must not turn the times in the log back.
	w.at.ticks = max(w.at.ticks, w.now().UnixNano()/100)
	pos := w.at.next
	stored := w.enc.encode(stream, rev, pos, w.at.ticks, ev)
	if err := w.conn.addEvent.do(pos, s.id, rev, stored); err != nil {
		return 0, fmt.Errorf("add an event: %w", err)
	}
	w.added = append(w.added, record{pos, s.id, rev, bytes.Clone(stored[sumSize:])})
	w.at.last, w.at.next = pos, pos+int64(len(stored)-sumSize)
	if rev == deletedBefore {
		s.dead = true
	} else {
		s.last, s.lastPos = rev, pos
	}
	w.recent.add(ev.id, place{s.id, rev, pos, w.at.ticks})
	return pos, nil
}
