package esnode

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"sync"
	"sync/atomic"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// sumsVFS is how SQLite reaches the log's files: its own way, with a checksum in every page. A
// record has one too, but the tree above the records has none of its own: a bit that flips there
// could hide events or show old ones. SQLite knows the first eight bytes that a page may keep free
// for this as the reserved bytes.
const sumsVFS = "prelude-sums"

const (
	pageSize     = 4096
	pageReserved = 8
	pageContent  = pageSize - pageReserved
)

// Calls of SQLite's files, as the driver's translation of its C passes them.
type (
	openFile func(tls *libc.TLS, vfs, name, file uintptr, flags int32, out uintptr) int32
	readFile func(tls *libc.TLS, file, buf uintptr, n int32, at int64) int32
)

// base is what the page checks stand on; set once, before the first file is opened.
var base struct {
	open        openFile
	read, write readFile
	methods     sync.Map // of SQLite's methods and whether they are a write-ahead log's: ours
}

type methodsKey struct {
	methods uintptr
	wal     bool
}

// lastDamaged is the number of the page that was found damaged last, for what is said of it; below
// 0: of a page in the write-ahead log.
var lastDamaged atomic.Int64

// registerSums makes the way known to SQLite.
var registerSums = sync.OnceValue(func() error {
	tls := libc.NewTLS()
	defer tls.Close()
	unix := sqlite3.Xsqlite3_vfs_find(tls, 0)
	name, err := libc.CString(sumsVFS)
	if err != nil || unix == 0 {
		return errors.Join(errors.New("SQLite has no way to its files"), err)
	}
	p := keep(tls, *pointee[sqlite3.Tsqlite3_vfs](unix))
	if p == 0 {
		return errors.New("SQLite has no memory for the way to its files")
	}
	v := pointee[sqlite3.Tsqlite3_vfs](p)
	base.open = function[openFile](v.FxOpen)
	v.FpNext, v.FzName, v.FxOpen = 0, name, pointer[openFile](openSummed)
	if rc := sqlite3.Xsqlite3_vfs_register(tls, p, 0); rc != sqlite3.SQLITE_OK {
		return errors.New("SQLite refuses the way to its files")
	}
	return nil
})

// pointee is what a pointer of SQLite's points to: memory that Go neither moves nor frees.
func pointee[T any](p uintptr) *T {
	return (*T)(*(*unsafe.Pointer)(unsafe.Pointer(&p))) //nolint:gosec // SQLite's memory, which it keeps
}

// bytesAt are bytes of SQLite's; valid until the call returns that was given the pointer.
func bytesAt(p uintptr, n int32) []byte {
	return unsafe.Slice(pointee[byte](p), n) //nolint:gosec // n is the size that SQLite gives
}

// function and pointer turn a function into what the translation keeps of it, and back. The
// functions are those of packages, which are never freed.
func function[F any](p uintptr) F {
	return *(*F)(unsafe.Pointer(&struct{ uintptr }{p})) //nolint:gosec // as the translation does it itself
}

func pointer[F any](f F) uintptr {
	return *(*uintptr)(unsafe.Pointer(&struct{ f F }{f})) //nolint:gosec // as the translation does it itself
}

// keep puts a value where SQLite may keep it, for ever; 0: there is no memory.
func keep[T any](tls *libc.TLS, value T) uintptr {
	p := sqlite3.Xsqlite3_malloc(tls, int32(unsafe.Sizeof(value)))
	if p != 0 {
		*pointee[T](p) = value
	}
	return p
}

func openSummed(tls *libc.TLS, vfs, name, file uintptr, flags int32, out uintptr) int32 {
	rc := base.open(tls, vfs, name, file, flags, out)
	wal := flags&sqlite3.SQLITE_OPEN_WAL != 0
	if rc != sqlite3.SQLITE_OK || !wal && flags&sqlite3.SQLITE_OPEN_MAIN_DB == 0 {
		return rc
	}
	f := pointee[sqlite3.Tsqlite3_file](file)
	ours := summedMethods(tls, f.FpMethods, wal)
	if ours == 0 {
		closeIt := function[func(*libc.TLS, uintptr) int32](
			pointee[sqlite3.Tsqlite3_io_methods](f.FpMethods).FxClose)
		closeIt(tls, file)
		f.FpMethods = 0
		return sqlite3.SQLITE_NOMEM
	}
	f.FpMethods = ours
	return rc
}

var methodsMu sync.Mutex

// summedMethods gives SQLite's methods of a file with ours in the place of some.
func summedMethods(tls *libc.TLS, methods uintptr, wal bool) uintptr {
	key := methodsKey{methods, wal}
	methodsMu.Lock()
	defer methodsMu.Unlock()
	if p, ok := base.methods.Load(key); ok {
		known, _ := p.(uintptr)
		return known
	}
	m := *pointee[sqlite3.Tsqlite3_io_methods](methods)
	if base.read == nil { // all kinds of files share these two, and others read them by now
		base.read, base.write = function[readFile](m.FxRead), function[readFile](m.FxWrite)
	}
	if wal {
		m.FxRead = pointer[readFile](readFrame)
	} else {
		m.FxRead, m.FxWrite = pointer[readFile](readPage), pointer[readFile](writePage)
	}
	p := keep(tls, m)
	if p != 0 {
		base.methods.Store(key, p)
	}
	return p
}

// writePage puts the checksum into a page. It changes bytes of SQLite's that SQLite does not use.
func writePage(tls *libc.TLS, file, buf uintptr, n int32, off int64) int32 {
	if n == pageSize && off%pageSize == 0 {
		sumPage(bytesAt(buf, pageSize), off/pageSize+1)
	}
	return base.write(tls, file, buf, n, off)
}

// readPage checks a page. Of a page whose content is read past SQLite's cache, as parts of large
// events are, the rest is read too. Smaller pieces are read of the first page alone: its head,
// which SQLite looks at before it knows the pages' size, and again with the whole of it.
func readPage(tls *libc.TLS, file, buf uintptr, n int32, off int64) int32 {
	rc := base.read(tls, file, buf, n, off)
	if rc != sqlite3.SQLITE_OK || n < pageContent || off%pageSize != 0 {
		return rc
	}
	page := bytesAt(buf, n)
	if n < pageSize {
		rest := tls.Alloc(pageReserved)
		defer tls.Free(pageReserved)
		if rc := base.read(tls, file, rest, pageReserved, off+pageContent); rc != sqlite3.SQLITE_OK {
			return rc
		}
		page = append(append(make([]byte, 0, pageSize), page[:pageContent]...),
			bytesAt(rest, pageReserved)...)
	}
	if number := off/pageSize + 1; !summedPage(page, number) {
		lastDamaged.Store(number)
		return sqlite3.SQLITE_IOERR_DATA
	}
	return rc
}

// sumPage writes a page's checksum and number, which finds pages that are in the wrong place.
func sumPage(page []byte, number int64) {
	binary.BigEndian.PutUint32(page[pageContent+4:], uint32(number))
	binary.BigEndian.PutUint32(page[pageContent:], pageSum(page))
}

func summedPage(page []byte, number int64) bool {
	return binary.BigEndian.Uint32(page[pageContent+4:]) == uint32(number) &&
		binary.BigEndian.Uint32(page[pageContent:]) == pageSum(page)
}

func pageSum(page []byte) uint32 {
	sum := crc32.Checksum(page[:pageContent], castagnoli)
	return crc32.Update(sum, castagnoli, page[pageContent+4:pageSize])
}
