package esnode

import (
	"math"
	"time"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
)

// subscribeAll gives the events after a position and then those to come. There is one source, pages
// of the durable log, so there is no hand-over at which an event could be missed or come twice.
func (r *reading) subscribeAll(o *api.ReadReq_Options_AllOptions) error {
	var after int64
	var err error
	switch from := o.GetAllOption().(type) {
	case *api.ReadReq_Options_AllOptions_Start:
	case *api.ReadReq_Options_AllOptions_End:
		after = r.book.durable.Load()
	case *api.ReadReq_Options_AllOptions_Position:
		after, err = r.position(from.Position.GetCommitPosition(), errBadSubscription)
	default:
		err = &invalid{text: "a position is required"}
	}
	if err == nil {
		err = r.confirm()
	}
	if err != nil {
		return err
	}
	t := &tail{reading: r, after: after, passed: after, behind: true}
	for err == nil {
		err = t.step()
	}
	return err
}

func (r *reading) confirm() error {
	return r.out.Send(&api.ReadResp{Content: &api.ReadResp_Confirmation{
		Confirmation: &api.ReadResp_SubscriptionConfirmation{SubscriptionId: uuid.NewString()},
	}})
}

// tail is how far a subscription to the whole log has come.
type tail struct {
	*reading
	after      int64 // the last event considered
	passed     int64 // the last position the subscriber knows of
	considered int   // events since the last checkpoint
	behind     bool
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
		t.passed = rec.pos
		if err := t.send(rec); err != nil {
			return err
		}
	}
	if t.filter != nil && t.considered >= t.filter.interval {
		return t.checkpoint()
	}
	return nil
}

// checkpoint says how far the log was considered.
func (t *tail) checkpoint() error {
	t.considered, t.passed = 0, t.after
	return t.out.Send(checkpointAt(t.after, time.Now()))
}

func (t *tail) caughtUp() error {
	t.behind = false
	if t.filter != nil && t.after != t.passed {
		if err := t.checkpoint(); err != nil {
			return err
		}
	}
	return t.out.Send(caughtUpAt(positionField(t.after), time.Now()))
}

func (r *reading) wait(wake <-chan struct{}) error {
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
	if s.dead {
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

func (r *reading) stepStream(name string, after int64, behind bool) (int64, bool, error) {
	wake := r.book.next()
	s, err := r.book.state(r.ctx, name)
	if err != nil {
		return after, behind, err
	}
	p, err := r.book.stream(r.ctx, s.id, max(after+1, s.low()), s.last, false, pageEvents)
	for i := range p.records {
		if err != nil {
			return after, behind, err
		}
		var old bool
		after = p.records[i].rev
		if old, err = s.expired(&p.records[i], time.Now()); err == nil && !old {
			err = r.send(&p.records[i])
		}
	}
	switch {
	case err != nil:
		return after, behind, err
	case len(p.records) > 0:
		return after, behind || !p.end, r.stopped()
	case s.dead:
		return after, behind, r.bury(name, &s)
	case behind:
		if err := r.out.Send(caughtUpAt(revisionField(after), time.Now())); err != nil {
			return after, behind, err
		}
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
