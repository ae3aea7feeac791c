package esnode

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"prelude/test/conformance/wire"
)

// torture says that the long form of a test is asked for.
func torture() bool { return os.Getenv("PRELUDE_TORTURE") != "" }

// unable skips a test that this machine cannot run; in the long form, which is a proof, that is a failure.
func unable(t *testing.T, why string, args ...any) {
	t.Helper()
	if torture() {
		t.Fatalf(why, args...)
	}
	t.Skipf(why, args...)
}

// seed is that of a test's chance; it is printed, and may be given to see the same again.
func seed(t *testing.T) *rand.Rand {
	t.Helper()
	n := rand.Uint64()
	if s := os.Getenv("ESNODE_TEST_SEED"); s != "" {
		if _, err := fmt.Sscan(s, &n); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("ESNODE_TEST_SEED=%d", n)
	return rand.New(rand.NewPCG(n, 0))
}

// told is what a node says of a log: what each read gives, up to where it ends with an error.
type told map[string]*said

type said struct {
	events [][]byte
	err    error
}

func (r *rig) tell(streams []string) told {
	all := told{}
	ask := func(name string, o *api.ReadReq_Options) {
		got, err := r.Read(o)
		s := &said{err: err}
		for _, m := range got {
			b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
			if err != nil {
				r.T.Fatal(err)
			}
			s.events = append(s.events, b)
		}
		all[name] = s
	}
	ask("", wire.Options())
	ask("backwards", wire.Backwards(wire.FromEnd()))
	for _, name := range streams {
		ask(name, wire.OfStream(name))
	}
	return all
}

// holds expects the same as before, or an error that says what is damaged, after a part of it.
func (now told) holds(t *testing.T, what string, before told) (whole, damaged, untrue int) {
	t.Helper()
	for name, was := range before {
		is := now[name]
		same := len(is.events) <= len(was.events)
		for i := range is.events {
			same = same && bytes.Equal(is.events[i], was.events[i])
		}
		switch {
		case !same, is.err == nil && len(is.events) != len(was.events):
			t.Errorf("%s: reading %q serves what was not written, %d events of %d, %v", what, name, len(is.events),
				len(was.events), is.err)
			untrue++
		case is.err == nil:
			whole++
		case wire.Code(is.err) != codes.DataLoss:
			t.Errorf("%s: reading %q says %v", what, name, is.err)
		case !strings.Contains(is.err.Error(), "position") && !strings.Contains(is.err.Error(), "page"):
			t.Errorf("%s: reading %q does not say where: %v", what, name, is.err)
		default:
			damaged++
		}
	}
	return whole, damaged, untrue
}

// varied fills a log with all kinds of pages: leaves, inner nodes, overflow, several streams.
func varied(r *rig) (streams []string) {
	for i := range 6 {
		name := fmt.Sprintf("stream-%d", i)
		streams = append(streams, name)
		for rev := range 20 {
			r.Must(name, int64(rev-1), fmt.Sprint(name, rev))
		}
	}
	big := wire.Message(wire.ID("big"), "tested", `"`+strings.Repeat("big ", 5000)+`"`)
	if a := r.Send("stream-0", 19, big); a.Err != nil || a.Wrong != nil {
		r.T.Fatal(a.Err)
	}
	r.SetMeta("stream-1", `{"$maxCount":7}`)
	r.Must("stream-0", 20, "after")
	return streams
}

// A bit that flips anywhere in the file is found or does no harm; what it hits is never served, and
// the rest is.
func TestFlip_anywhere_in_the_file(t *testing.T) {
	t.Parallel()
	r := newStoppedRig(t)
	r.start(t)
	streams := varied(r)
	before := r.tell(streams)
	r.stop()
	file := filepath.Join(r.dir, logFile)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	chance, random := seed(t), 40
	if torture() {
		random = 3_000
	}
	var bits []int
	// One record, bit for bit in the long form.
	record, step := bytes.Index(whole, []byte("stream-3")), 80
	if torture() {
		step = 1
	}
	for bit := 8 * (record - 40); bit < 8*(record+160); bit += 1 + chance.IntN(step) {
		bits = append(bits, bit)
	}
	// The head of every page: what its structure hangs from.
	for page := 0; page < len(whole); page += pageSize {
		bits = append(bits, 8*page+chance.IntN(8*12), 8*page+8*pageContent+chance.IntN(64))
	}
	for range random {
		bits = append(bits, chance.IntN(8*len(whole)))
	}
	var refused, found, harmless, served, wrong int
	for _, bit := range bits {
		b := bytes.Clone(whole)
		b[bit/8] ^= 1 << (bit % 8)
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		what := fmt.Sprintf("bit %d of byte %d, page %d", bit%8, bit/8, bit/8/pageSize+1)
		if !r.starts(what) {
			refused++
			continue
		}
		ok, damaged, untrue := r.tell(streams).holds(t, what, before)
		served += ok
		wrong += untrue
		if damaged > 0 {
			found++
		} else {
			harmless++
		}
		r.stop()
		if t.Failed() {
			break
		}
	}
	if found == 0 || served == 0 {
		t.Errorf("found %d, reads that were served whole %d", found, served)
	}
	t.Logf("%d flips of one bit in %d pages: %d refused at the start, %d found when read, %d harmless; "+
		"%d reads were whole, %d served what was not written", len(bits), len(whole)/pageSize, refused, found, harmless,
		served, wrong)
}

// starts says whether the node starts; if not, it must say that the log is damaged, or none.
func (r *rig) starts(what string) bool {
	r.T.Helper()
	err := r.tryStart(r.T)
	if err == nil {
		return true
	}
	if !errors.Is(err, errDamaged) && !errors.Is(err, errForeign) && !strings.Contains(err.Error(), "use a newer one") {
		r.T.Errorf("%s: the start says %v", what, err)
	}
	return false
}

// After a kill, the last commits are in the write-ahead log alone. A bit that flips there must not
// pass for the log's end. Only within the last commit, which a crash may have torn, it can: then the
// last append is not there, and nothing else.
func TestFlip_in_what_a_kill_left(t *testing.T) {
	t.Parallel()
	r := newStoppedRig(t)
	r.start(t)
	streams := []string{"s"}
	for rev := range 8 {
		r.Must("s", int64(rev-1), fmt.Sprint(rev))
	}
	without := r.tell(streams)
	r.Must("s", 7, "last")
	before := r.tell(streams)
	file := filepath.Join(r.dir, logFile)
	main, err := os.ReadFile(file)
	wal, walErr := os.ReadFile(file + "-wal")
	if err = errors.Join(err, walErr); err != nil {
		t.Fatal(err)
	}
	r.stop()
	last := lastCommit(t, wal)
	chance, rounds := seed(t), 60
	if torture() {
		rounds = 5_000
	}
	var refused, shorter int
	for range rounds {
		bit := chance.IntN(8 * len(wal))
		b := bytes.Clone(wal)
		b[bit/8] ^= 1 << (bit % 8)
		err := errors.Join(os.WriteFile(file, main, 0o600), os.WriteFile(file+"-wal", b, 0o600))
		if err != nil {
			t.Fatal(err)
		}
		what := fmt.Sprintf("bit %d of byte %d of the write-ahead log", bit%8, bit/8)
		if !r.starts(what) {
			refused++
			continue
		}
		now := r.tell(streams)
		if bit/8 >= last && len(now["s"].events) == len(without["s"].events) {
			now.holds(t, what, without)
			shorter++
		} else {
			now.holds(t, what, before)
		}
		r.stop()
		if t.Failed() {
			break
		}
	}
	if refused == 0 {
		t.Error("no flip was found")
	}
	t.Logf("%d flips of one bit in %d bytes: %d refused at the start, %d within the last commit", rounds, len(wal),
		refused, shorter)
}

// lastCommit finds where the last commit of a write-ahead log begins.
func lastCommit(t *testing.T, wal []byte) int {
	t.Helper()
	begins, next := 0, walHead
	for at := walHead; at+frameSize <= len(wal); at += frameSize {
		if string(wal[at+8:at+16]) != string(wal[16:24]) {
			break
		}
		if string(wal[at+4:at+8]) != "\x00\x00\x00\x00" {
			begins, next = next, at+frameSize
		}
	}
	return begins
}
