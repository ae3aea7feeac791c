package esnode

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"prelude/internal/eventstore/storetest"
	"prelude/test/conformance/wire"
)

// TestRecorded is the process whose writes TestPower records: it makes a log, or takes the one that is
// there, and compacts it if that is asked for, appends, stops, starts again, appends, and ends without
// stopping. Checkpoints come often, so that many are cut.
func TestRecorded(t *testing.T) {
	dir := os.Getenv("ESNODE_TEST_RECORDED")
	if dir == "" {
		t.Skip("it runs in a process of its own")
	}
	r := &rig{dir: dir}
	if os.Getenv(compactsFirst) != "" {
		if _, err := Compact(t.Context(), r.dir, nil); err != nil {
			t.Fatal(err)
		}
	}
	text := strings.Repeat("x", 3000)
	var rev int64
	for round := range 2 {
		r.start(t)
		there := r.Revisions("s") // -1 where there is none
		rev = there[len(there)-1] + 1
		if err := r.node.writer.conn.run("PRAGMA wal_autocheckpoint(20)"); err != nil {
			t.Fatal(err)
		}
		for range 40 {
			m := wire.Message(wire.ID(fmt.Sprint(rev)), "tested", `"`+text[:int(rev*131)%len(text)]+`"`)
			if a := r.Send("s", rev-1, m); a.Err != nil || a.Wrong != nil {
				t.Fatal(a.Err)
			}
			fmt.Println("acknowledged", rev)
			rev++
		}
		if round == 0 {
			r.stop()
		}
	}
	os.Exit(0)
}

const compactsFirst = "ESNODE_TEST_RECORDED_COMPACTS"

// disk is what files hold after a crash: what was synced surely, and of what was not, anything.
type disk struct {
	dir    string
	files  map[string]*recordedFile // as the process sees them
	stable map[string]*recordedFile // the folder as it was last synced
	acked  int64
}

type recordedFile struct {
	synced  []byte
	pending []change
}

// change is a write, or a truncation where data is nil.
type change struct {
	at   int64
	data []byte
}

// recording is what a process did to the files of a folder, and what was surely there before: files,
// and events that had been acknowledged.
type recording struct {
	dir    string
	before map[string][]byte
	acked  int64 // the last revision
	calls  []call
}

// disk is the folder before the first of the calls.
func (rec *recording) disk() *disk {
	d := &disk{dir: rec.dir, files: map[string]*recordedFile{}, acked: rec.acked}
	for path, content := range rec.before {
		d.files[path] = &recordedFile{synced: content}
	}
	d.stable = maps.Clone(d.files)
	return d
}

// pass takes one call of the process in.
func (d *disk) pass(c call, syncs bool) {
	f := d.files[c.path]
	switch c.name {
	case "open":
		if f == nil {
			d.files[c.path] = &recordedFile{}
		} else if c.truncates {
			f.pending = append(f.pending, change{at: 0})
		}
	case "write":
		f.pending = append(f.pending, change{c.at, c.data})
	case "truncate":
		f.pending = append(f.pending, change{at: c.at})
	case "rename":
		d.files[c.to] = f
		delete(d.files, c.path)
	case "unlink":
		delete(d.files, c.path)
	case "acknowledge":
		d.acked = c.at
	case "sync":
		switch {
		case !syncs:
		case c.path == d.dir:
			d.stable = maps.Clone(d.files)
		case f != nil:
			f.synced, f.pending = f.after(func(int64) bool { return true }), nil
		}
	}
}

// after gives a file's content with those pending sectors that survive.
func (f *recordedFile) after(survives func(at int64) bool) []byte {
	b := bytes.Clone(f.synced)
	for _, o := range f.pending {
		if o.data == nil {
			if survives(o.at) {
				b = resized(b, o.at)
			}
			continue
		}
		for n := 0; n < len(o.data); {
			at := o.at + int64(n)
			end := min(n+int(sector-at%sector), len(o.data))
			if survives(at) {
				b = resized(b, max(int64(len(b)), at+int64(end-n)))
				copy(b[at:], o.data[n:end])
			}
			n = end
		}
	}
	return b
}

// sector is what a disk writes whole or not at all.
const sector = 512

func resized(b []byte, size int64) []byte {
	if int64(len(b)) >= size {
		return b[:size:size]
	}
	return append(b, make([]byte, size-int64(len(b)))...)
}

// crash writes what may be left into a folder. How much of what is not synced survives differs from
// crash to crash: all, nothing, or each sector by chance.
func (d *disk) crash(dir string, chance *rand.Rand) error {
	share := []float64{0, 1, 0.5, 0.1, 0.9}[chance.IntN(5)]
	survives := func(int64) bool { return chance.Float64() < share }
	names := map[string]*recordedFile{}
	for _, path := range union(d.files, d.stable) {
		now, was := d.files[path], d.stable[path]
		if survives(0) || now == was {
			was = now // the folder's change survives
		}
		if was != nil {
			names[filepath.Base(path)] = was
		}
	}
	for name, f := range names {
		if err := os.WriteFile(filepath.Join(dir, name), f.after(survives), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func union(a, b map[string]*recordedFile) []string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return slices.Sorted(maps.Keys(all))
}

// After a loss of power at any moment the log opens and holds every append that was acknowledged.
// The same replay with the syncs left out must lose something: it shows that it would be seen.
func TestPower(t *testing.T) {
	t.Parallel()
	r := newStoppedRig(t)
	rec := recording{dir: r.dir, acked: -1, calls: straced(t, r.dir)}
	cut(t, rec, len(rec.calls), 30, 10_000)
}

// After a loss of power at any moment at which an older log is brought to this format, it opens, and holds
// every event that it had.
func TestPower_while_an_older_log_is_upgraded(t *testing.T) {
	t.Parallel()
	whileRewritten(t, writeFormat1)
}

// The same holds for a log that is compacted.
func TestPower_while_the_log_is_compacted(t *testing.T) {
	t.Parallel()
	whileRewritten(t, writeCurrent, compactsFirst+"=1")
}

// whileRewritten cuts the power while the program, before it appends anything, writes a log anew that was stopped, or
// killed.
func whileRewritten(t *testing.T, write func(t *testing.T, dir string, events int, killed bool), env ...string) {
	t.Helper()
	for name, killed := range map[string]bool{"that was stopped": false, "that was killed": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newStoppedRig(t)
			const events = 120
			write(t, r.dir, events, killed)
			rec := recording{dir: r.dir, before: contentOf(t, r.dir), acked: events - 1}
			rec.calls = straced(t, r.dir, env...)
			first := slices.IndexFunc(rec.calls, func(c call) bool { return c.name == "acknowledge" })
			rec.calls = rec.calls[:first]
			there := slices.IndexFunc(rec.calls, func(c call) bool { return c.name == "rename" })
			if there < 0 {
				t.Fatalf("no log was written anew in %d calls", first)
			}
			cut(t, rec, min(there+4, first), 16, 2_000)
		})
	}
}

// writeCurrent makes a log of this format with events of one stream, as a stop leaves it or as a kill does: then the
// second half of them is in the write-ahead log alone.
func writeCurrent(t *testing.T, dir string, events int, killed bool) {
	t.Helper()
	r := newStoppedRig(t)
	r.start(t)
	for rev := range events {
		if rev == events/2 {
			r.stop()
			r.start(t)
		}
		m := wire.Message(wire.ID(fmt.Sprint(rev)), "tested", `"old"`)
		if a := r.Send("s", int64(rev)-1, m); a.Err != nil || a.Wrong != nil {
			t.Fatal(a.Err)
		}
	}
	if !killed {
		r.stop()
	}
	copyLog(t, r.dir, dir)
	if killed {
		r.stop()
	}
}

// copyLog copies the files of a log, which somebody may have open, as they are on the disk now.
func copyLog(t *testing.T, from, to string) {
	t.Helper()
	for path, content := range contentOf(t, from) {
		if err := os.WriteFile(filepath.Join(to, filepath.Base(path)), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// contentOf reads a folder's files, by their paths.
func contentOf(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, logFile+"*"))
	if err != nil {
		t.Fatal(err)
	}
	content := map[string][]byte{}
	for _, path := range files {
		if content[path], err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	return content
}

// cut crashes after calls by chance, half of them among the last before one, and expects that nothing is lost;
// without syncs, something must be.
func cut(t *testing.T, rec recording, before, short, long int) {
	t.Helper()
	calls := rec.calls
	rounds, chance := short, seed(t)
	if torture() {
		rounds = long
	}
	counts := map[string]int{}
	for _, c := range calls {
		counts[c.name]++
	}
	var all damages
	for round := range rounds {
		at := 1 + chance.IntN(len(calls))
		if round%2 == 0 {
			at = before - chance.IntN(min(16, before))
		}
		d := rec.lose(t, at, true, chance)
		if all.add(d); d.err != nil || d.lost+d.twice > 0 {
			t.Errorf("round %d, a crash after call %d of %d: lost %d, twice %d, %v", round, at, len(calls), d.lost, d.twice,
				d.err)
			break
		}
	}
	var without damages
	tries := 0
	for ; without.crashes == 0 && tries < 100; tries++ {
		without.add(rec.lose(t, len(calls)-chance.IntN(4), false, chance))
	}
	if without.crashes == 0 {
		t.Error("without any sync nothing was lost: the replay proves nothing")
	}
	t.Logf("%d calls recorded: %d writes, %d syncs, %d acknowledged; %d crashes: lost %d, twice %d of %d events "+
		"acknowledged before them; without syncs crash %d does harm, and %d events are lost",
		len(calls), counts["write"], counts["sync"], counts["acknowledge"], rounds, all.lost, all.twice, all.acked,
		tries, without.lost)
}

// damages is what crashes did to a log, or one did.
type damages struct {
	acked, lost, twice int
	err                error // the log does not open, or is not what it was
	crashes            int   // that did something
}

func (d *damages) add(one damages) {
	d.acked += one.acked
	d.lost += one.lost
	d.twice += one.twice
	if one.err != nil || one.lost+one.twice > 0 {
		d.crashes++
	}
}

// lose replays calls up to one, crashes, and opens what is left. It tells what is lost.
func (rec *recording) lose(t *testing.T, at int, syncs bool, chance *rand.Rand) (got damages) {
	t.Helper()
	d := rec.disk()
	for _, c := range rec.calls[:at] {
		d.pass(c, syncs)
	}
	want := make([]uuid.UUID, d.acked+1)
	for rev := range want {
		want[rev] = wire.ID(fmt.Sprint(rev))
	}
	got.acked = len(want)
	r := newStoppedRig(t)
	defer os.RemoveAll(r.dir)
	if got.err = d.crash(r.dir, chance); got.err != nil {
		return got
	}
	if err := r.tryStart(t); err != nil {
		got.err, got.lost = fmt.Errorf("start: %w", err), len(want)
		return got
	}
	defer r.stop()
	there, err := r.inOrder()
	got.lost, got.twice = storetest.Compare(want, there)
	// It takes what comes next.
	a := r.Append("s", int64(len(there))-1, "next")
	_, verified := Verify(t.Context(), r.dir, nil, nil, func(p Problem) {
		err = errors.Join(err, errors.New(p.String()))
	})
	got.err = errors.Join(err, a.Err, verified)
	return got
}

// inOrder reads the ids of the whole log, whose events must be those of one stream, from its first on. The
// error is of the first that is not; the others are read all the same, and counted.
func (r *rig) inOrder() (ids []uuid.UUID, wrong error) {
	for m, err := range r.each(wire.Options()) {
		if err != nil {
			return ids, errors.Join(wrong, fmt.Errorf("read: %w", err))
		}
		e := m.GetEvent().GetEvent()
		id, err := uuidOf(e.GetId())
		if err != nil {
			return ids, errors.Join(wrong, err)
		}
		rev := len(ids)
		if wrong == nil && (id != wire.ID(fmt.Sprint(rev)) || int(e.GetStreamRevision()) != rev) {
			wrong = fmt.Errorf("revision %d is %s: %w", e.GetStreamRevision(), id, errMisplaced)
		}
		ids = append(ids, id)
	}
	return ids, wrong
}

var errMisplaced = errors.New("another event should be there")
