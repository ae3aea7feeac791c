package esnode

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/bits"
	"os"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// The write-ahead log is a head and frames, each a head and a page. SQLite sums frames up one after
// the other, and looks at the sums only when it opens the file after a crash.
const (
	walHead   = 32
	frameHead = 24
	frameSize = frameHead + pageSize
)

// readFrame checks a page that SQLite reads out of the write-ahead log: its frame's sum goes on
// from that of the frame before.
func readFrame(tls *libc.TLS, file, buf uintptr, n int32, off int64) int32 {
	rc := base.read(tls, file, buf, n, off)
	place := off - walHead - frameHead
	if rc != sqlite3.SQLITE_OK || n != pageSize || place < 0 || place%frameSize != 0 {
		return rc
	}
	// The sum before is the last eight bytes of the head of the log or of the frame before.
	const sum = 8
	before := int64(sum)
	if place > 0 {
		before += pageSize
	}
	heads := tls.Alloc(sum + frameHead)
	defer tls.Free(sum + frameHead)
	head := off - frameHead
	if rc := base.read(tls, file, heads, sum, head-before); rc != sqlite3.SQLITE_OK {
		return rc
	}
	if rc := base.read(tls, file, heads+sum, frameHead, head); rc != sqlite3.SQLITE_OK {
		return rc
	}
	page := bytesAt(buf, pageSize)
	all := bytesAt(heads, sum+frameHead)
	if !framed(all[:sum], all[sum:], page) {
		lastDamaged.Store(-int64(binary.BigEndian.Uint32(all[sum:])))
		return sqlite3.SQLITE_IOERR_DATA
	}
	return rc
}

// framed says whether a frame's sum is right. Its words are in the order of the machine that began
// the log, which is this one, unless the folder was moved while the node was not stopped.
func framed(before, head, page []byte) bool {
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		a := binary.BigEndian.Uint32(before)
		b := binary.BigEndian.Uint32(before[4:])
		a, b = walSum(order, a, b, head[:8])
		a, b = walSum(order, a, b, page)
		if sumIs(a, b, head[16:]) {
			return true
		}
	}
	return false
}

func walSum(order binary.ByteOrder, a, b uint32, words []byte) (uint32, uint32) {
	if order == binary.LittleEndian {
		for ; len(words) >= 8; words = words[8:] {
			a += binary.LittleEndian.Uint32(words) + b
			b += binary.LittleEndian.Uint32(words[4:]) + a
		}
		return a, b
	}
	for ; len(words) >= 8; words = words[8:] {
		a += binary.BigEndian.Uint32(words) + b
		b += binary.BigEndian.Uint32(words[4:]) + a
	}
	return a, b
}

// checkTail looks at the write-ahead log that a crash left, before SQLite does, which takes a frame
// with a wrong sum for the log's end: what was committed after it would be gone without a word. A
// commit is synced before the next one is begun. So what a crash tears is within the last commit;
// something wrong with the end of a commit and more frames after it is damage. Within the last
// commit the two look the same: there a flipped bit costs that commit.
func checkTail(file string) error {
	f, err := os.Open(file + "-wal")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open the write-ahead log: %w", err)
	}
	err = scanTail(f)
	return errors.Join(err, f.Close())
}

func scanTail(f io.Reader) error {
	head := make([]byte, walHead)
	if _, err := io.ReadFull(f, head); err != nil {
		return tailEnd(err)
	}
	t := crashed{before: head[24:32], salt: head[16:24]}
	if a, b := walSum(binary.LittleEndian, 0, 0, head[:24]); !sumIs(a, b, head[24:]) {
		if a, b = walSum(binary.BigEndian, 0, 0, head[:24]); !sumIs(a, b, head[24:]) {
			t.wrong, t.salt = "the head", nil
		}
	}
	frame := make([]byte, frameSize)
	for n := int64(1); ; n++ {
		if _, err := io.ReadFull(f, frame); err != nil {
			return tailEnd(err)
		}
		if err := t.pass(n, frame); err != nil {
			return err
		}
	}
}

// crashed is what is known of a write-ahead log so far.
type crashed struct {
	before    []byte // the sum of the frame before
	salt      []byte // what all frames since the log was begun have in common
	wrong     string // what is wrong first
	committed bool   // a commit ended there or after that
}

func (t *crashed) pass(n int64, frame []byte) error {
	if t.salt == nil {
		t.salt = append(t.salt, frame[8:16]...)
	}
	off := bits.OnesCount64(binary.BigEndian.Uint64(t.salt) ^ binary.BigEndian.Uint64(frame[8:]))
	right := off == 0 && framed(t.before, frame[:frameHead], frame[frameHead:])
	t.before = append(t.before[:0:0], frame[16:24]...)
	// The salt of what an earlier round left differs in more than one bit.
	if off > 1 {
		t.wrong = cmp.Or(t.wrong, fmt.Sprintf("frame %d", n))
		return nil
	}
	if t.committed {
		return fmt.Errorf("%w: %s of the write-ahead log", errDamaged, t.wrong)
	}
	if !right {
		t.wrong = cmp.Or(t.wrong, fmt.Sprintf("frame %d", n))
	}
	t.committed = t.wrong != "" && binary.BigEndian.Uint32(frame[4:]) != 0
	return nil
}

func sumIs(a, b uint32, sum []byte) bool {
	return a == binary.BigEndian.Uint32(sum) && b == binary.BigEndian.Uint32(sum[4:])
}

func tailEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return fmt.Errorf("read the write-ahead log: %w", err)
}
