package esnode

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"

	"prelude/internal/eventstore/storetest"
	"prelude/test/conformance/wire"
)

// promptly is how long whoever is in a call may wait after the node began to close.
const promptly = stopGrace + 5*time.Second

// When the node closes while appends are under way, each caller gets an answer or an error, and what was
// acknowledged is stored, once.
func TestClose_while_appends_are_under_way(t *testing.T) {
	t.Parallel()
	r := newStoppedRig(t)
	chance := seed(t)
	rounds := 4
	if torture() {
		rounds = 100
	}
	var all closing
	for round := range rounds {
		r.start(t)
		all.round(t, r, round, 50+chance.IntN(200))
		if err := r.Conn.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			return
		}
	}
	r.start(t)
	defer r.stop()
	var stored []uuid.UUID
	for m, err := range r.each(wire.Options()) {
		if err != nil {
			t.Fatal(err)
		}
		id, err := uuidOf(m.GetEvent().GetEvent().GetId())
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, id)
	}
	lost, twice := storetest.Compare(all.acknowledged, stored)
	t.Logf("%d closes: %d events acknowledged, %d stored, %d calls ended with an error: lost %d, twice %d",
		rounds, len(all.acknowledged), len(stored), all.refused, lost, twice)
	if lost+twice > 0 || all.refused == 0 {
		t.Errorf("lost %d, twice %d, %d ended with an error", lost, twice, all.refused)
	}
}

// closing is what writers were told by nodes that closed.
type closing struct {
	mu           sync.Mutex
	acknowledged []uuid.UUID
	refused      int
}

func (c *closing) told(t *testing.T, id uuid.UUID, err error) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil:
		c.acknowledged = append(c.acknowledged, id)
	case wire.Code(err) == codes.Unavailable:
		c.refused++
	default:
		t.Errorf("a call ends with %v", err)
	}
}

// round has writers append, one by one and in batches, until the node closes after some of them.
func (c *closing) round(t *testing.T, r *rig, round, after int) {
	t.Helper()
	const singles, batches = 8, 2
	var answered atomic.Int64
	enough := make(chan struct{})
	count := func() {
		if answered.Add(1) == int64(after) {
			close(enough)
		}
	}
	var writers sync.WaitGroup
	for w := range singles {
		writers.Go(func() {
			for i := int64(0); ; i++ {
				name := fmt.Sprintf("single-%d-%d-%d", round, w, i)
				rev, err := r.appendOne(fmt.Sprintf("single-%d-%d", round, w), i-1, name)
				if err == nil && rev != i {
					t.Errorf("revision %d is answered, not %d", rev, i)
				}
				c.told(t, wire.ID(name), err)
				if err != nil {
					return
				}
				count()
			}
		})
	}
	for w := range batches {
		writers.Go(func() { c.batch(t, r, fmt.Sprintf("batch-%d-%d", round, w), count) })
	}
	<-enough
	ended := make(chan error, 1)
	go func() {
		err := r.node.Close()
		writers.Wait()
		ended <- err
	}()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(promptly):
		t.Error("somebody hangs")
	}
}

// appendOne appends one event; unlike the wire's own, it may find that there is no node.
func (r *rig) appendOne(stream string, expected int64, name string) (rev int64, err error) {
	ctx, cancel := context.WithTimeout(r.T.Context(), 4*promptly)
	defer cancel()
	o := &api.AppendReq_Options{StreamIdentifier: wire.Stream(stream)}
	o.ExpectedStreamRevision = &api.AppendReq_Options_Revision{Revision: uint64(expected)}
	if expected < 0 {
		o.ExpectedStreamRevision = &api.AppendReq_Options_NoStream{NoStream: wire.Empty}
	}
	call, err := r.Streams.Append(ctx)
	if err != nil {
		return 0, err
	}
	err = call.Send(&api.AppendReq{Content: &api.AppendReq_Options_{Options: o}})
	if err == nil {
		err = call.Send(&api.AppendReq{Content: &api.AppendReq_ProposedMessage_{
			ProposedMessage: wire.Message(wire.ID(name), "tested", `{}`),
		}})
	}
	if err != nil && !errors.Is(err, io.EOF) { // then the answer says why
		return 0, err
	}
	resp, err := call.CloseAndRecv()
	return int64(resp.GetSuccess().GetCurrentRevision()), err
}

// batch appends to a stream, with some under way all the time, until the call ends.
func (c *closing) batch(t *testing.T, r *rig, stream string, count func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*promptly)
	defer cancel()
	call, err := r.Streams.BatchAppend(ctx)
	if err != nil {
		t.Error(err)
		return
	}
	room, over := make(chan struct{}, 16), make(chan struct{})
	var sender sync.WaitGroup
	defer sender.Wait()
	defer close(over)
	sender.Go(func() {
		for i := int64(0); ; i++ {
			select {
			case room <- struct{}{}:
			case <-over:
				return
			}
			name := fmt.Sprint(stream, "-", i)
			err := call.Send(&api.BatchAppendReq{
				CorrelationId: wire.Text(wire.ID(name)), IsFinal: true,
				Options: wire.BatchOptions(stream, i-1), ProposedMessages: wire.BatchMessages(name),
			})
			if err != nil {
				return
			}
		}
	})
	for {
		resp, err := call.Recv()
		if err != nil {
			c.told(t, uuid.Nil, err)
			return
		}
		<-room
		id, err := uuidOf(resp.GetCorrelationId())
		if err != nil || resp.GetSuccess() == nil {
			t.Errorf("an append of the batch is answered with %v", resp)
			return
		}
		c.told(t, id, nil)
		count()
	}
}
