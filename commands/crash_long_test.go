package commands

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"prelude/domain"
)

// renaming is a command that comes to the place of a snapshot: that is a write after the append.
func renaming() killable {
	return killable{"Sessions.Rename",
		func(r *rig) any {
			r.Snapshots = &shelf{}
			id := r.session(olga)
			r.grow(id, snapshotEvery-3)
			for n := range 3 {
				if _, err := r.sessions().Rename(r.t.Context(), id, fmt.Sprint("Plan ", n), by(olga)); err != nil {
					r.t.Fatal(err)
				}
			}
			return id
		},
		func(r *rig, id any, m Meta) error {
			_, err := r.sessions().Rename(r.t.Context(), id.(domain.SessionID), "Plans", m)
			return err
		}}
}

// What a snapshot holds is never ahead of the log, or beside it: killed around it, whoever begins at it comes to the
// state to which the events alone lead, and knows of the command.
func TestSnapshot_killed_around_it_leads_to_the_same_state(t *testing.T) {
	t.Parallel()
	c := renaming()
	_, writes := undisturbed(t, c)
	kept := 0
	for at := range writes {
		for _, after := range []bool{false, true} {
			r := newRig(t)
			r.at(noon)
			id := c.setup(r).(domain.SessionID)
			e, m := r.mortal(at, after)
			// The snapshot comes last: without it the command succeeds.
			if err := c.run(e, id, theCommand()); (err != nil) != (at < writes-1) {
				t.Fatalf("killed at write %d, made: %v, it says %v", at, after, err)
			}
			if m.alive() == nil {
				t.Fatalf("there is no write %d", at)
			}
			if len(r.Snapshots.(*shelf).kept) > 0 {
				kept++
			}
			left, err := r.again().sessions().Rename(t.Context(), id, "Plans", theCommand())
			if made := at > 0 || after; err != nil || left.Replayed != made {
				t.Errorf("killed at write %d, made: %v: the repeat left %+v: %v", at, after, left, err)
			}
			got := r.coldLoad(id)
			r.Snapshots = nil
			want := r.coldLoad(id)
			if diff := cmp.Diff(want.State, got.State, cmpopts.EquateEmpty()); diff != "" || got.Revision != want.Revision {
				t.Errorf("killed at write %d, made: %v, another state:\n%s", at, after, diff)
			}
		}
	}
	t.Logf("%d writes, killed %d times, %d of them with a snapshot; another state: %v", writes, 2*writes, kept, t.Failed())
	if writes != 2 || kept != 1 {
		t.Errorf("%d writes, and %d snapshots", writes, kept)
	}
}
