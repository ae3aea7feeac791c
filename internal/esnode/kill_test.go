package esnode

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"prelude/internal/eventstore/storetest"
	"prelude/test/conformance/wire"
)

const victimWriters = 8

// TestVictim is the process that TestKill kills: a node under load. Every line it writes is an
// append that was acknowledged.
func TestVictim(t *testing.T) {
	dir := os.Getenv("ESNODE_TEST_VICTIM")
	if dir == "" {
		t.Skip("it runs in a process of its own")
	}
	r := &rig{dir: dir}
	began := time.Now()
	r.start(t)
	fmt.Println("started", time.Since(began).Microseconds())
	var mu sync.Mutex
	var all sync.WaitGroup
	for w := range victimWriters {
		all.Go(func() {
			name := fmt.Sprintf("s-%d-%d", os.Getpid(), w)
			for rev := int64(noStream); ; rev += 2 {
				a := r.Append(name, rev, fmt.Sprint(name, rev+1), fmt.Sprint(name, rev+2))
				if a.Err != nil || a.Wrong != nil {
					t.Errorf("append: %v %v", a.Err, a.Wrong)
					return
				}
				mu.Lock()
				fmt.Println("acknowledged", name, a.Rev, a.Pos)
				mu.Unlock()
			}
		})
	}
	all.Wait()
}

// acknowledged is an append of two events, as the victim was told where the second is.
type acknowledged struct {
	stream   string
	rev, pos int64
}

// Nothing that was acknowledged may be missing after the process was killed, however often, and
// nothing may be there twice.
func TestKill(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "esnode")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	rounds, chance := 3, seed(t)
	if torture() {
		rounds = 200
	}
	var acks []acknowledged
	var starts []time.Duration
	for range rounds {
		told, started := kill(t, dir, 20+chance.IntN(400), time.Duration(chance.IntN(3000))*time.Microsecond)
		acks, starts = append(acks, told...), append(starts, started)
	}
	r := &rig{dir: dir}
	began := time.Now()
	r.start(t)
	starts = append(starts, time.Since(began))
	events := everyEvent(r)
	r.repeat(acks)
	r.stop()
	lost, twice := compare(t, acks, events)
	if c := sum(t, dir); int(c.Events) != len(events) {
		t.Errorf("%d events are verified, %d were read", c.Events, len(events))
	}
	slices.Sort(starts)
	t.Logf("%d kills, %d appends of 2 events acknowledged, %d events there, lost %d, twice %d; start p50 %s p99 %s",
		rounds, len(acks), len(events), lost, twice, starts[len(starts)/2], starts[len(starts)*99/100])
	if lost+twice > 0 {
		t.Errorf("lost %d, twice %d", lost, twice)
	}
}

// compare holds what was acknowledged against what is stored, and says how many events are not there, and
// how many more than once. One that is there must be where its acknowledgement said.
func compare(t *testing.T, acks []acknowledged, events []stored) (lost, twice int) {
	t.Helper()
	var want, got []uuid.UUID
	places := map[uuid.UUID]acknowledged{}
	for _, e := range events {
		got = append(got, e.id)
		places[e.id] = e.acknowledged
	}
	for _, a := range acks {
		for i := range int64(2) {
			id := wire.ID(fmt.Sprint(a.stream, a.rev-i))
			want = append(want, id)
			at, ok := places[id]
			if ok && (at.stream != a.stream || at.rev != a.rev-i || i == 0 && at.pos != a.pos) {
				t.Errorf("%v was acknowledged; there is %v", a, at)
			}
		}
	}
	return storetest.Compare(want, got)
}

// kill runs a victim until it has acknowledged some appends, and a moment longer.
func kill(t *testing.T, dir string, after int, moment time.Duration) (acks []acknowledged, started time.Duration) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestVictim$")
	child.Env = append(os.Environ(), "ESNODE_TEST_VICTIM="+dir)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err == nil {
		err = child.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var a acknowledged
		var micros int64
		if _, err := fmt.Sscanf(lines.Text(), "acknowledged %s %d %d", &a.stream, &a.rev, &a.pos); err == nil {
			acks = append(acks, a)
		} else if _, err := fmt.Sscanf(lines.Text(), "started %d", &micros); err == nil {
			started = time.Duration(micros) * time.Microsecond
		}
		if len(acks) == after {
			time.AfterFunc(moment, func() { _ = child.Process.Kill() }) // it may have ended, which is told below
		}
	}
	// Killed, it has an error; without one it was quicker to end by itself.
	if err := child.Wait(); err == nil || len(acks) < after {
		t.Fatalf("the child ended by itself after %d appends, with the error %v", len(acks), err)
	}
	return acks, started
}

// repeat sends the last append of each stream again: it answers the same, and adds nothing.
func (r *rig) repeat(acks []acknowledged) {
	r.T.Helper()
	ends := map[string]acknowledged{}
	for _, a := range acks {
		ends[a.stream] = a
	}
	for name, a := range ends {
		again := r.Append(name, a.rev-2, fmt.Sprint(name, a.rev-1), fmt.Sprint(name, a.rev))
		if again.Err != nil || again.Rev != a.rev || again.Pos != a.pos {
			r.T.Errorf("%v was acknowledged; its repeat answers %+v", a, again)
		}
	}
}

// stored is an event that is there, and where.
type stored struct {
	id uuid.UUID
	acknowledged
}

// everyEvent reads the whole log. Revisions follow each other, positions grow, and no append is there by
// half.
func everyEvent(r *rig) (all []stored) {
	r.T.Helper()
	next := map[string]int64{}
	last := int64(0)
	for m, err := range r.each(wire.Options()) {
		if err != nil {
			r.T.Fatal(err)
		}
		e := m.GetEvent().GetEvent()
		a := acknowledged{string(e.GetStreamIdentifier().GetStreamName()), int64(e.GetStreamRevision()),
			int64(e.GetCommitPosition())}
		id, err := uuidOf(e.GetId())
		if err != nil || a.rev != next[a.stream] || a.pos <= last {
			r.T.Fatalf("%v is where revision %d after position %d should be; %v", a, next[a.stream], last, err)
		}
		all, last = append(all, stored{id, a}), a.pos
		next[a.stream]++
	}
	for name, n := range next {
		if n%2 != 0 {
			r.T.Errorf("%s has %d events: half an append", name, n)
		}
	}
	return all
}
