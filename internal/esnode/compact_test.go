package esnode

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc/codes"
)

// from reads the whole log after a position.
func from(pos int64) *api.ReadReq_Options {
	o := options()
	o.GetAll().AllOption = &api.ReadReq_Options_AllOptions_Position{
		Position: &api.ReadReq_Options_Position{CommitPosition: uint64(pos), PreparePosition: uint64(pos)},
	}
	return o
}

// physical are all events of the log, as stream and revision.
func (r *rig) physical() (all []string) {
	r.t.Helper()
	for m, err := range r.each(options()) {
		if err != nil {
			r.t.Fatal(err)
		}
		e := m.GetEvent().GetEvent()
		all = append(all, fmt.Sprint(string(e.GetStreamIdentifier().GetStreamName()), " ", e.GetStreamRevision()))
	}
	return all
}

func (r *rig) compact() Compacted {
	r.t.Helper()
	r.stop()
	c, err := Compact(r.t.Context(), r.dir, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	sum(r.t, r.dir)
	r.start()
	return c
}

func TestCompact_leaves_what_can_be_seen(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.node.writer.now = func() time.Time { return time.Now().Add(-time.Hour) }
	r.must("aged", noStream, "old", "older")
	r.node.writer.now = time.Now
	r.must("aged", 1, "new", "newer")
	r.setMeta("aged", `{"$maxAge":1800}`)
	r.must("counted", noStream, "a", "b", "c")
	r.setMeta("counted", `{"$maxCount":9}`)
	r.setMeta("counted", `{"$maxCount":1}`)
	r.must("bounded", noStream, "a", "b", "c")
	r.setMeta("bounded", `{"$tb":1}`)
	r.must("soft", noStream, "a", "b")
	r.must("again", noStream, "a", "b")
	r.must("gone", noStream, "a", "b")
	r.must("whole", noStream, "a", "b")
	for _, name := range []string{"soft", "again"} {
		if _, err := r.delete(name, anyRevision); err != nil {
			t.Fatal(err)
		}
	}
	r.must("again", 1, "c")
	if err := r.tombstone("gone"); err != nil {
		t.Fatal(err)
	}
	shown := map[string][]int64{}
	for _, name := range []string{"counted", "bounded", "soft", "again", "whole", "aged", "$$counted"} {
		shown[name] = r.revisions(name)
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
		if is := r.revisions(name); !slices.Equal(is, was) {
			t.Errorf("%s shows %v, and did %v", name, is, was)
		}
	}
	r.must("soft", 1, "c")
	r.must("counted", 2, "d")
	if a := r.append("gone", anyRevision, "c"); code(a.err) != codes.FailedPrecondition {
		t.Errorf("the stream that is gone answers %v", a.err)
	}
}

// A position at which an event was is one of this log for ever; one between two events is none.
func TestCompact_keeps_positions(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var at []int64
	for rev := range int64(30) {
		at = append(at, r.must("s", rev-1, fmt.Sprint(rev)).pos)
	}
	r.setMeta("s", `{"$maxCount":10}`)
	r.must("other", noStream, "a")
	r.compact()
	for round := range 2 {
		for _, pos := range []int64{at[3], at[19], at[25]} {
			got, err := r.read(from(pos))
			if err != nil || len(got) < 7 {
				t.Errorf("round %d: from %d come %d events, %v", round, pos, len(got), err)
			}
		}
		if _, err := r.read(from(at[25] + 1)); code(err) != codes.Unknown {
			t.Errorf("round %d: between two events: %v", round, err)
		}
		a := r.must("s", 29+int64(round), fmt.Sprint("more", round))
		if a.pos <= at[len(at)-1] {
			t.Errorf("position %d comes again", a.pos)
		}
		at = append(at, a.pos)
		r.setMeta("s", fmt.Sprintf(`{"$maxCount":%d}`, 9-round))
		r.must("other", int64(round), fmt.Sprint("b", round))
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
	r.start()
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
	r.start()
	r.must("s", noStream, "a", "b", "c")
	r.setMeta("s", `{"$maxCount":1}`)
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
	r.must("s", noStream, "0")
	go func() {
		rev := int64(0)
		for {
			select {
			case <-stop:
				done <- rev
				return
			default:
			}
			a := r.append("s", rev, fmt.Sprint(rev+1))
			if a.err != nil || a.wrong != nil {
				t.Errorf("append: %v %v", a.err, a.wrong)
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
		restored := &rig{t: t, dir: filepath.Join(dir, fmt.Sprint("log", n))}
		c, err := Restore(t.Context(), filepath.Join(dir, fmt.Sprint(n)), restored.dir, nil, nil)
		if err != nil || c.Events != count || count > last+1 || n > 0 && count < counts[n-1] {
			t.Errorf("backup %d of %v has %d events, the log at the end %d: %v", n, counts, c.Events, last+1, err)
		}
		if got := sum(t, restored.dir); got.Events != count {
			t.Errorf("backup %d: %d events verified", n, got.Events)
		}
	}
	if got := sum(t, r.dir); got.Events != last+1 {
		t.Errorf("beside the node %d events are verified, there are %d", got.Events, last+1)
	}
}
