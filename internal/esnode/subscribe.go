package esnode

import (
	"errors"
	"math"
	"time"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
)

// subscribeAll gives the events after a position and then those to come. There is one source, pages
// of the durable log, so there is no hand-over at which an event could be missed or come twice.
func (r *reading) subscribeAll(o *api.ReadReq_Options_AllOptions) error {
	t, err := r.tail(o)
	if errors.Is(err, errNoPosition) {
		if err = r.confirm(); err == nil { // a real store looks at a position only after this
			err = errBadSubscription
		}
		return err
	}
	if err == nil {
		err = r.confirm()
	}
	for err == nil {
		err = t.step()
	}
	return err
}

var errBadSubscription = &invalid{text: "Trying to read from an invalid position."}

// tail gives where a subscription begins.
func (r *reading) tail(o *api.ReadReq_Options_AllOptions) (*tail, error) {
	t := &tail{reading: r, behind: true, starting: r.filter != nil}
	switch from := o.GetAllOption().(type) {
	case *api.ReadReq_Options_AllOptions_Start:
		t.passed = beforeFirst
		return t, nil
	case *api.ReadReq_Options_AllOptions_End:
		t.after = math.MaxInt64
	case *api.ReadReq_Options_AllOptions_Position:
		var err error
		if t.after, err = positionOf(from.Position); err != nil {
			return nil, err
		}
	default:
		return nil, &invalid{text: "a position is required"}
	}
	if t.after == math.MaxInt64 {
		// From the end on there is nothing to catch up with, and so no checkpoint of it.
		t.after, t.starting = r.book.durable.Load(), false
	}
	t.passed = uint64(t.after)
	return t, nil
}

func (r *reading) confirm() error {
	return r.out.Send(&api.ReadResp{Content: &api.ReadResp_Confirmation{
		Confirmation: &api.ReadResp_SubscriptionConfirmation{SubscriptionId: uuid.NewString()},
	}})
}

// tail is how far a subscription to the whole log has come.
type tail struct {
	*reading
	after      int64  // the last event considered
	passed     uint64 // the last position the subscriber knows of; before the first event beforeFirst
	considered int    // events since the last checkpoint
	behind     bool
	starting   bool // a checkpoint comes before it has caught up for the first time
}

// step sends one page, or waits for more.
func (t *tail) step() error {
	wake := t.book.next()
	p, err := t.book.after(t.ctx, t.after)
	if err != nil {
		return err
	}
	for i := range p.records {
		if err := t.consider(&p.records[i]); err != nil {
			return err
		}
	}
	if len(p.records) > 0 {
		t.behind = t.behind || !p.end
		return t.stopped()
	}
	if t.behind {
		if err := t.caughtUp(); err != nil {
			return err
		}
	}
	return t.wait(wake)
}

func (t *tail) consider(rec *record) error {
	t.after = rec.pos
	t.considered++
	pass, err := t.filter.passes(rec)
	if err != nil {
		return err
	}
	if pass {
		t.passed = uint64(rec.pos)
		if err := t.send(rec); err != nil {
			return err
		}
	}
	if t.filter != nil && t.considered >= t.filter.interval {
		t.considered, t.passed = 0, uint64(t.after)
		return t.checkpoint()
	}
	return nil
}

// checkpoint names the last position the subscriber knows of. Before caught-up that is the last event that
// matched, or where the subscription began, not the log's end: a real store says no more.
func (t *tail) checkpoint() error {
	return t.out.Send(t.notices.checkpointAt(t.passed, time.Now()))
}

func (t *tail) caughtUp() error {
	t.behind = false
	if t.starting {
		t.starting = false
		if err := t.checkpoint(); err != nil {
			return err
		}
	}
	return t.out.Send(t.notices.caughtUpAt(positionField(t.after), time.Now()))
}

// wait waits until the log has grown, and with moods at times a little longer.
func (r *reading) wait(wake <-chan struct{}) error {
	if err := r.waitFor(wake); err != nil {
		return err
	}
	lag := r.moods.lag()
	if lag == 0 {
		return nil
	}
	over := make(chan struct{})
	defer time.AfterFunc(lag, func() { close(over) }).Stop()
	return r.waitFor(over)
}

func (r *reading) waitFor(wake <-chan struct{}) error {
	select {
	case <-wake:
		return nil
	case <-r.closing:
		return errStopping
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
}

// subscribeStream gives a stream's events after a revision and then those to come. The stream need
// not exist yet.
func (r *reading) subscribeStream(name string, o *api.ReadReq_Options_StreamOptions) error {
	s, err := r.book.state(r.ctx, name)
	if err != nil {
		return err
	}
	if s.buried() {
		return &deleted{name}
	}
	after, err := revision(o, -1)
	if err != nil {
		return err
	}
	if after == math.MaxInt64 {
		after = s.last
	}
	if err := r.confirm(); err != nil {
		return err
	}
	for behind := true; err == nil; {
		after, behind, err = r.stepStream(name, after, behind)
	}
	return err
}

// stepStream sends one page, or waits for more. A stream's limits hold for what is caught up with; what
// comes live is sent as it was appended.
func (r *reading) stepStream(name string, after int64, behind bool) (int64, bool, error) {
	wake := r.book.next()
	s, err := r.book.state(r.ctx, name)
	if err != nil {
		return after, behind, err
	}
	low := after + 1
	if behind {
		low = max(low, s.low())
	}
	p, err := r.book.stream(r.ctx, s.id, low, s.last, false, pageEvents)
	for i := range p.records {
		if err != nil {
			return after, behind, err
		}
		old := false
		after = p.records[i].rev
		if behind {
			old, err = s.expired(&p.records[i], time.Now())
		}
		if err == nil && !old {
			err = r.send(&p.records[i])
		}
	}
	switch {
	case err != nil:
		return after, behind, err
	case len(p.records) > 0:
		return after, behind || !p.end, r.stopped()
	case s.buried():
		return after, behind, r.bury(name, &s)
	case behind:
		if err := r.out.Send(r.notices.caughtUpAt(revisionField(after), time.Now())); err != nil {
			return after, behind, err
		}
		after = max(after, s.last) // what the limits have hidden so far stays hidden
	}
	return after, false, r.wait(wake)
}

// bury shows a subscriber the tombstone and ends.
func (r *reading) bury(name string, s *state) error {
	p, err := r.book.stream(r.ctx, s.id, math.MaxInt64, math.MaxInt64, false, 1)
	if err != nil {
		return err
	}
	for i := range p.records {
		if err := r.send(&p.records[i]); err != nil {
			return err
		}
	}
	return &deleted{name}
}
