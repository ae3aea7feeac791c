package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unicode/utf16"

	"github.com/jackc/pgx/v5"

	"prelude/internal/eventlog"
	"prelude/internal/pgserver/pgtest"
)

// forms are a text as it may lie somewhere: as it is, in UTF-16, in hex, and in base64, where it may begin at any of
// three places.
func forms(text string) [][]byte {
	all := [][]byte{[]byte(text), []byte(strings.ToUpper(text)), []byte(hex.EncodeToString([]byte(text)))}
	for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		var wide []byte
		for _, unit := range utf16.Encode([]rune(text)) {
			wide = order.AppendUint16(wide, unit)
		}
		all = append(all, wide)
	}
	for before := range 3 {
		for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			coded := enc.EncodeToString([]byte(strings.Repeat("\x00", before) + text))
			// The characters at both ends hold bits of the neighbours.
			all = append(all, []byte(coded[(8*before+5)/6:len(coded)-1]))
		}
	}
	return all
}

// scan searches every byte of all files in folders for texts, and lists the files that hold one.
func scan(t *testing.T, texts []string, folders ...string) (found []string, size int64) {
	t.Helper()
	var wanted [][]byte
	for _, text := range texts {
		wanted = append(wanted, forms(text)...)
	}
	for _, folder := range folders {
		err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			b, err := os.ReadFile(path)
			size += int64(len(b))
			for _, w := range wanted {
				if bytes.Contains(b, w) {
					found = append(found, path)
					break
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found, size
}

func TestScan_finds_what_is_there(t *testing.T) {
	t.Parallel()
	const text = "ann-marker-7f3a"
	for name, b := range map[string][]byte{
		"plain": []byte("x" + text), "quoted": fmt.Appendf(nil, "%q", text), "in hex": fmt.Appendf(nil, "0a%x", text),
		"in UTF-16": []byte("\x00a" + strings.Join(strings.Split(text, ""), "\x00") + "\x00"),
		"in base64": []byte(base64.StdEncoding.EncodeToString([]byte("{" + text + "}"))),
		"later":     []byte(base64.StdEncoding.EncodeToString([]byte("It was " + text + ", said he"))),
		"in a URL":  []byte(base64.RawURLEncoding.EncodeToString([]byte("by " + text))),
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "f"), b, 0o600); err != nil {
			t.Fatal(err)
		}
		if found, _ := scan(t, []string{text}, dir); len(found) != 1 {
			t.Errorf("it is not found %s: %q", name, b)
		}
		if found, _ := scan(t, []string{"bob-marker-91cc"}, dir); len(found) != 0 {
			t.Errorf("another is found %s", name)
		}
	}
}

// scanned is an installation whose log, vault and backups are searched.
type scanned struct {
	*testing.T
	rig      *rig
	ann, bob *writer
	kept     string // the folder of the backups
	logs     strings.Builder
	index    *scannedIndex
}

// TestScan erases one of two users, and then searches every byte of what there is, and of every backup: nobody's text
// lies anywhere in plain, at any time; and what lies there of the erased does not open, with whichever backup of the
// vault is put back.
func TestScan(t *testing.T) {
	t.Parallel()
	embedded(t)
	s := &scanned{T: t, rig: &rig{t: t, data: t.TempDir()}, kept: t.TempDir()}
	s.index = newScannedIndex(t)
	p := launch(s.rig, s.index.with("--log-level", "debug")...)
	s.rig.erasingPreset()
	s.ann, s.bob = s.rig.writer("ann"), s.rig.writer("bob")
	s.ann.shows()
	s.bob.shows()
	s.rig.search("q="+indexed+"&min_position="+s.bob.position, "opensearch")
	s.backup("older")
	s.end(p, "older")
	s.plain("before the erasure")

	p = launch(s.rig, s.index.with("--log-level", "debug")...)
	s.rig.erase(s.ann.id).want(202)
	s.sweep()
	s.rig.search("q="+indexed+"&min_position="+s.rig.newest(), "opensearch")
	s.backup("newer")
	s.end(p, "newer")
	s.plain("after the erasure")

	s.Run("the newer vault has nothing of the erased", func(t *testing.T) {
		t.Parallel()
		s.on(t).restored("newer", "newer")
	})
	s.Run("the newer backup of the log is restored with the newer vault", func(t *testing.T) {
		t.Parallel()
		s.on(t).restoredLog("newer", "newer")
	})
	s.Run("the newer backup of the log is restored with the older vault", func(t *testing.T) {
		t.Parallel()
		s.on(t).restoredLog("newer", "older")
	})
	s.Run("the older vault is put back, and erased again", func(t *testing.T) {
		t.Parallel()
		s.on(t).restored("newer", "older")
	})
	s.Run("the older vault is put back in another way, and erased at the start", func(t *testing.T) {
		t.Parallel()
		s.on(t).slippedIn()
	})
}

func (s *scanned) on(t *testing.T) *scanned {
	return &scanned{T: t, rig: s.rig.on(t), ann: s.ann, bob: s.bob, kept: s.kept, index: s.index}
}

// backup backs the log and the vault up while the server runs.
func (s *scanned) backup(name string) {
	s.Helper()
	for what, file := range map[string]string{"log": name + logBackup, "vault": name + ".vault"} {
		if out, err := s.rig.command(what, "backup", filepath.Join(s.kept, file)); err != nil {
			s.Fatalf("%v\n%s", err, out)
		}
	}
}

// logBackup ends the name of a backup of the log, as the program makes it.
const logBackup = ".log.backup"

// end stops the server, and keeps a copy of the log as it lies there then.
func (s *scanned) end(p *process, name string) {
	s.Helper()
	p.end(syscall.SIGTERM)
	s.logs.WriteString(s.rig.logs.String())
	s.copyLog(filepath.Join(s.rig.data, "log"), filepath.Join(s.kept, name+".log"))
}

func (s *scanned) copyLog(from, to string) {
	s.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		s.Fatal(err)
	}
}

// sweep lets Postgres drop what was overwritten, as an operator may who does not want to wait for it.
func (s *scanned) sweep() {
	s.Helper()
	dsn, err := os.ReadFile(filepath.Join(s.rig.data, databaseFile))
	if err != nil {
		s.Fatal(err)
	}
	conn, err := pgx.Connect(s.Context(), string(dsn))
	if err != nil {
		s.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(s.Context())) }()
	for _, sql := range []string{"VACUUM FULL", "CHECKPOINT"} {
		if _, err := conn.Exec(s.Context(), sql); err != nil {
			s.Fatal(err)
		}
	}
}

// plain expects that neither user's text lies anywhere as it is.
func (s *scanned) plain(when string) {
	s.Helper()
	if err := os.WriteFile(filepath.Join(s.kept, "logs"), []byte(s.logs.String()), 0o600); err != nil {
		s.Fatal(err)
	}
	found, size := scan(s.T, []string{s.ann.marker, s.bob.marker}, s.rig.data, s.kept)
	if len(found) > 0 {
		s.Errorf("%s a text lies in %v", when, found)
	}
	s.Logf("%s %d MiB were searched", when, size>>20)
	s.index.plain(s, when)
	// The scanner sees what lies there.
	path := filepath.Join(s.rig.data, "postgres", "left")
	if err := os.WriteFile(path, []byte("x"+s.ann.marker), 0o600); err != nil {
		s.Fatal(err)
	}
	if found, _ = scan(s.T, []string{s.ann.marker}, s.rig.data); len(found) != 1 || found[0] != path {
		s.Errorf("of a text that lies there it finds %v", found)
	}
	if err := os.Remove(path); err != nil {
		s.Fatal(err)
	}
}

// installed is a new installation with a copy of a log, the master key, and an empty database.
func (s *scanned) installed(log string) *rig {
	s.Helper()
	r := s.bare()
	s.copyLog(filepath.Join(s.kept, log+".log"), filepath.Join(r.data, "log"))
	return r
}

// bare is a new installation with the master key and an empty database.
func (s *scanned) bare() *rig {
	s.Helper()
	r := &rig{t: s.T, data: s.TempDir(), dsn: pgtest.Database(s.T)}
	key, err := os.ReadFile(filepath.Join(s.rig.data, "master.key"))
	if err = errors.Join(err, os.WriteFile(filepath.Join(r.data, "master.key"), key, 0o600)); err != nil {
		s.Fatal(err)
	}
	return r
}

func (s *scanned) restore(r *rig, vault string, erased int) {
	s.Helper()
	out, err := r.command("vault", "restore", filepath.Join(s.kept, vault+".vault"))
	if err != nil {
		s.Fatalf("%v\n%s", err, out)
	}
	contains(s.T, out, fmt.Sprintf("%d users whom the log says were erased", erased))
}

// restored puts a backup of the vault back beside a log, and starts.
func (s *scanned) restored(log, vault string) {
	s.Helper()
	r := s.installed(log)
	s.restore(r, vault, 1)
	s.opens(r, false)
	s.starts(r, false)
}

// restoredLog puts backups of the log and of the vault back where there is nothing, and starts.
func (s *scanned) restoredLog(log, vault string) {
	s.Helper()
	r := s.bare()
	if out, err := r.command("log", "restore", filepath.Join(s.kept, log+logBackup)); err != nil {
		s.Fatalf("%v\n%s", err, out)
	}
	s.restore(r, vault, 1)
	s.opens(r, false)
	s.starts(r, true)
}

// slippedIn brings a vault of before to a log of after without a restore, as a copy of the database would.
func (s *scanned) slippedIn() {
	s.Helper()
	r := s.installed("older")
	s.restore(r, "older", 0)
	s.opens(r, true) // with the keys of then all opens: it is the keys that are missing after
	if err := os.RemoveAll(filepath.Join(r.data, "log")); err != nil {
		s.Fatal(err)
	}
	s.copyLog(filepath.Join(s.kept, "newer.log"), filepath.Join(r.data, "log"))
	s.starts(r, false)
	contains(s.T, r.logs.String(), "erasures were applied to the vault")
}

// starts serves, and asks for everything. Where the log has a new id, positions of the old one are void.
func (s *scanned) starts(r *rig, newID bool) {
	s.Helper()
	r.serve()
	ann, bob := *s.ann, *s.bob
	ann.rig, bob.rig = r.as(s.ann.key), r.as(s.bob.key)
	owner := r.as(s.rig.key)
	if newID {
		ann.position = owner.newest()
		bob.position = ann.position
	}
	ann.do("GET", "/v1/me", nil).refused(401, "unauthenticated")
	bob.shows()
	if d := owner.do("GET", "/v1/users/"+ann.id, nil).want(200); d.str("withheld") != "erased" {
		s.Errorf("the user is shown as %v", d)
	}
	owner.tombstones(s.T, &ann, &bob)
	r.stop()
	s.opens(r, false)
}

// opens opens every text of the log that a vault has the key of. Bob's are always there.
func (s *scanned) opens(r *rig, ann bool) {
	s.Helper()
	cfg := &Config{Data: r.data, DatabaseURL: r.dsn}
	p, err := openAll(s.Context(), cfg, slog.New(slog.DiscardHandler), true)
	if err != nil {
		s.Fatal(errors.Join(err, p.Close()))
	}
	defer func() { _ = p.Close() }()
	var texts strings.Builder
	for raw, err := range p.log.Store.ReadAll(s.Context(), 0, eventlog.Forwards, 0) {
		if err != nil {
			s.Fatal(err)
		}
		rec, err := eventlog.Decode(raw)
		if err != nil {
			continue // the store's own
		}
		one := []eventlog.Record{rec}
		if err := p.log.Open(s.Context(), one); err != nil {
			s.Fatal(err)
		}
		fmt.Fprintf(&texts, "%+v\n", one[0].Event)
	}
	if got := strings.Contains(texts.String(), s.ann.marker); got != ann {
		s.Errorf("the erased user's texts open: %v, want %v", got, ann)
	}
	if !strings.Contains(texts.String(), s.bob.marker) {
		s.Error("the other user's texts do not open")
	}
}
