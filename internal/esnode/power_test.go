package esnode

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"prelude/test/conformance/wire"
)

// TestRecorded is the process whose writes TestPower records: it makes a log, appends, stops, starts
// again, appends, and ends without stopping. Checkpoints come often, so that many are cut.
func TestRecorded(t *testing.T) {
	dir := os.Getenv("ESNODE_TEST_RECORDED")
	if dir == "" {
		t.Skip("it runs in a process of its own")
	}
	r := &rig{dir: dir}
	text := strings.Repeat("x", 3000)
	rev := int64(0)
	for round := range 2 {
		r.start(t)
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

func newDisk(dir string) *disk {
	return &disk{dir: dir, files: map[string]*recordedFile{}, stable: map[string]*recordedFile{}, acked: -1}
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
	strace, err := exec.LookPath("strace")
	if err != nil {
		unable(t, "strace is not installed: apt-get install strace")
	}
	r := newStoppedRig(t)
	calls := straced(t, strace, r.dir)
	rounds, chance := 30, seed(t)
	if torture() {
		rounds = 10_000
	}
	counts := map[string]int{}
	for _, c := range calls {
		counts[c.name]++
	}
	for round := range rounds {
		at := 1 + chance.IntN(len(calls))
		if err := lose(t, r.dir, calls[:at], true, chance); err != nil {
			t.Fatalf("round %d, a crash after call %d of %d: %v", round, at, len(calls), err)
		}
	}
	noticed := 0
	for range 8 {
		if lose(t, r.dir, calls[:1+chance.IntN(len(calls))], false, chance) != nil {
			noticed++
		}
	}
	if noticed == 0 {
		t.Error("without any sync nothing was lost: the replay proves nothing")
	}
	t.Logf("%d calls recorded: %d writes, %d syncs, %d acknowledged; %d crashes, lost 0; without syncs %d of 8 lose",
		len(calls), counts["write"], counts["sync"], counts["acknowledge"], rounds, noticed)
}

// lose replays calls, crashes, and opens what is left. It tells what is lost.
func lose(t *testing.T, recorded string, calls []call, syncs bool, chance *rand.Rand) error {
	t.Helper()
	d := newDisk(recorded)
	for _, c := range calls {
		d.pass(c, syncs)
	}
	r := newStoppedRig(t)
	defer os.RemoveAll(r.dir)
	if err := d.crash(r.dir, chance); err != nil {
		return err
	}
	if err := r.tryStart(t); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	defer r.stop()
	last := int64(-1)
	for m, err := range r.each(wire.Options()) {
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		e := m.GetEvent().GetEvent()
		own, err := uuidOf(e.GetId())
		if last++; err != nil || own != wire.ID(fmt.Sprint(last)) || int64(e.GetStreamRevision()) != last {
			return fmt.Errorf("revision %d is where %d should be", e.GetStreamRevision(), last)
		}
	}
	if last < d.acked {
		return fmt.Errorf("revision %d was acknowledged, the log ends at %d", d.acked, last)
	}
	// It takes what comes next.
	a := r.Append("s", last, "next")
	var problems error
	_, err := Verify(t.Context(), r.dir, nil, nil, func(p Problem) {
		problems = errors.Join(problems, errors.New(p.String()))
	})
	return errors.Join(a.Err, err, problems)
}
