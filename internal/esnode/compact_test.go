package esnode

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"prelude/test/conformance/wire"
)

// physical are all events of the log, as stream and revision.
func (r *rig) physical() (all []string) {
	r.T.Helper()
	for m, err := range r.each(wire.Options()) {
		if err != nil {
			r.T.Fatal(err)
		}
		e := m.GetEvent().GetEvent()
		all = append(all, fmt.Sprint(string(e.GetStreamIdentifier().GetStreamName()), " ", e.GetStreamRevision()))
	}
	return all
}

func (r *rig) compact() Compacted {
	r.T.Helper()
	r.stop()
	c, err := Compact(r.T.Context(), r.dir, nil)
	if err != nil {
		r.T.Fatal(err)
	}
	sum(r.T, r.dir)
	r.start(r.T)
	return c
}

func TestCompact_leaves_what_can_be_seen(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.node.writer.now = func() time.Time { return time.Now().Add(-time.Hour) }
	r.Must("aged", noStream, "old", "older")
	r.node.writer.now = time.Now
	r.Must("aged", 1, "new", "newer")
	r.SetMeta("aged", `{"$maxAge":1800}`)
	r.Must("counted", noStream, "a", "b", "c")
	r.SetMeta("counted", `{"$maxCount":9}`)
	r.SetMeta("counted", `{"$maxCount":1}`)
	r.Must("bounded", noStream, "a", "b", "c")
	r.SetMeta("bounded", `{"$tb":1}`)
	r.Must("soft", noStream, "a", "b")
	r.Must("again", noStream, "a", "b")
	r.Must("gone", noStream, "a", "b")
	r.Must("whole", noStream, "a", "b")
	for _, name := range []string{"soft", "again"} {
		if a := r.Delete(name, anyRevision); a.Err != nil {
			t.Fatal(a.Err)
		}
	}
	r.Must("again", 1, "c")
	if a := r.Tombstone("gone", anyRevision); a.Err != nil {
		t.Fatal(a.Err)
	}
	shown := map[string][]int64{}
	for _, name := range []string{"counted", "bounded", "soft", "again", "whole", "aged", "$$counted"} {
		shown[name] = r.Revisions(name)
	}
	before := r.physical()
	c := r.compact()
	want := []string{
		"aged 2", "aged 3", "$$aged 0", "counted 2", "$$counted 1", "bounded 1", "bounded 2", "$$bounded 0",
		"soft 1", "gone 1", "whole 0", "whole 1", "$$soft 0", "again 2", "$$again 1", "gone 9223372036854775807",
	}
	if got := r.physical(); !slices.Equal(got, want) {
		t.Errorf("left are\n%v, want\n%v", got, want)
	}
	if int(c.Removed) != len(before)-len(want) || int(c.Events) != len(want) {
		t.Errorf("it says %+v; there were %d events", c, len(before))
	}
	for name, was := range shown {
		if is := r.Revisions(name); !slices.Equal(is, was) {
			t.Errorf("%s shows %v, and did %v", name, is, was)
		}
	}
	r.Must("soft", 1, "c")
	r.Must("counted", 2, "d")
	if a := r.Append("gone", anyRevision, "c"); wire.Code(a.Err) != codes.FailedPrecondition {
		t.Errorf("the stream that is gone answers %v", a.Err)
	}
}

// A read goes on from a position at which an event was, or from between two, with the next event.
func TestCompact_keeps_positions(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var at []int64
	for rev := range int64(30) {
		at = append(at, r.Must("s", rev-1, fmt.Sprint(rev)).Pos)
	}
	r.SetMeta("s", `{"$maxCount":10}`)
	r.Must("other", noStream, "a")
	r.compact()
	for round := range 2 {
		for _, pos := range []int64{at[3], at[19], at[25]} {
			got, err := r.Read(wire.From(pos))
			if err != nil || len(got) < 7 {
				t.Errorf("round %d: from %d come %d events, %v", round, pos, len(got), err)
			}
		}
		got, err := r.Read(wire.From(at[25] + 1))
		if err != nil || len(got) == 0 || wire.PositionsOf(got)[0] != at[26] {
			t.Errorf("round %d: between two events: %v, %v", round, wire.PositionsOf(got), err)
		}
		a := r.Must("s", 29+int64(round), fmt.Sprint("more", round))
		if a.Pos <= at[len(at)-1] {
			t.Errorf("position %d comes again", a.Pos)
		}
		at = append(at, a.Pos)
		r.SetMeta("s", fmt.Sprintf(`{"$maxCount":%d}`, 9-round))
		r.Must("other", int64(round), fmt.Sprint("b", round))
		r.compact()
	}
	r.stop()
	gaps := gapsOf(t, filepath.Join(r.dir, logFile))
	file, dir := filepath.Join(t.TempDir(), "backup"), filepath.Join(t.TempDir(), "log")
	if _, err := Backup(t.Context(), r.dir, file, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(t.Context(), file, dir, nil, nil); err != nil {
		t.Fatal(err)
	}
	if restored := gapsOf(t, filepath.Join(dir, logFile)); len(gaps) == 0 || !slices.Equal(restored, gaps) {
		t.Errorf("the gaps are %v, restored %v", gaps, restored)
	}
	r.start(t)
}

func gapsOf(t *testing.T, file string) []int64 {
	t.Helper()
	c, err := openConn(plainDSN(file, forReading))
	if err != nil {
		t.Fatal(err)
	}
	var sums []int64
	for _, sql := range []string{"SELECT count(*) FROM gaps", "SELECT sum(low) FROM gaps", "SELECT sum(high) FROM gaps"} {
		n, err := c.number(sql)
		if err != nil {
			t.Fatal(err)
		}
		sums = append(sums, n)
	}
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	return sums
}

// A log that is interrupted while it is compacted is the old one.
func TestCompact_interrupted(t *testing.T) {
	t.Parallel()
	r := newStoppedRig(t)
	r.start(t)
	r.Must("s", noStream, "a", "b", "c")
	r.SetMeta("s", `{"$maxCount":1}`)
	r.stop()
	file := filepath.Join(r.dir, logFile)
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file+".partial", []byte("what a kill left"), 0o600); err != nil {
		t.Fatal(err)
	}
	errEnough := errors.New("enough")
	k := rewriting{keeps: func(*record) (bool, error) { return false, errEnough }}
	err = replace(file, func(partial string) (err error) {
		if k.from, err = openReading(file); err != nil {
			return err
		}
		k.file = partial
		_, err = k.run(t.Context())
		return errors.Join(err, k.from.close())
	})
	if !errors.Is(err, errEnough) {
		t.Errorf("it ends with %v", err)
	}
	after, err := os.ReadFile(file)
	if err != nil || string(after) != string(before) {
		t.Errorf("the log was changed: %v", err)
	}
	if _, err := os.Stat(file + ".partial"); err == nil {
		t.Error("something was left")
	}
}

// A backup that is made while events are added holds the log as it was at one moment.
func TestBackup_under_load(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	stop, done := make(chan struct{}), make(chan int64)
	r.Must("s", noStream, "0")
	go func() {
		rev := int64(0)
		for {
			select {
			case <-stop:
				done <- rev
				return
			default:
			}
			a := r.Append("s", rev, fmt.Sprint(rev+1))
			if a.Err != nil || a.Wrong != nil {
				t.Errorf("append: %v %v", a.Err, a.Wrong)
			}
			rev++
		}
	}()
	dir := t.TempDir()
	var counts []int64
	for n := range 5 {
		c, err := Backup(t.Context(), r.dir, filepath.Join(dir, fmt.Sprint(n)), nil)
		if err != nil {
			t.Error(err)
		}
		counts = append(counts, c.Events)
	}
	close(stop)
	last := <-done
	for n, count := range counts {
		restored := filepath.Join(dir, fmt.Sprint("log", n))
		c, err := Restore(t.Context(), filepath.Join(dir, fmt.Sprint(n)), restored, nil, nil)
		if err != nil || c.Events != count || count > last+1 || n > 0 && count < counts[n-1] {
			t.Errorf("backup %d of %v has %d events, the log at the end %d: %v", n, counts, c.Events, last+1, err)
		}
		if got := sum(t, restored); got.Events != count {
			t.Errorf("backup %d: %d events verified", n, got.Events)
		}
	}
	if got := sum(t, r.dir); got.Events != last+1 {
		t.Errorf("beside the node %d events are verified, there are %d", got.Events, last+1)
	}
}
