package vault

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"prelude/domain"
	"prelude/internal/newfile"
)

const logID = "log-1"

// backup writes a backup of the rig's vault.
func (r *rig) backup() string {
	r.t.Helper()
	path := filepath.Join(r.t.TempDir(), "vault.backup")
	if _, err := r.open().Backup(r.t.Context(), path, logID, 42); err != nil {
		r.t.Fatal(err)
	}
	return path
}

// another is an empty vault that is to have the same master key.
func (r *rig) another() *rig {
	r.t.Helper()
	n := newRig(r.t)
	n.master = r.master
	return n
}

func (r *rig) restore(path string, erased ...Erased) (Restored, error) {
	r.t.Helper()
	return Restore(r.t.Context(), r.pool, r.master, path, []string{"log-0", logID}, erased)
}

func TestBackup_restored_into_an_empty_vault_gives_all_keys_and_marks_back(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	v := r.open()
	r.ensure(v, allKeys...)
	insertMany(r, append(append([]domain.KeyID(nil), allKeys...), many("u.2.", 2*page)...))
	r.destroy(dayKey)
	v = r.open()
	before := r.find(v, allKeys...)
	path := r.backup()
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v: %v", info.Mode(), err)
	}
	n := r.another()
	got, err := n.restore(path)
	if want := len(allKeys) + 2*page; err != nil || got.Keys != want || got.Added != want || got.Position != 42 ||
		got.Log != logID {
		t.Fatalf("restored %+v: %v", got, err)
	}
	restored := n.open()
	found := n.find(restored, allKeys...)
	for _, id := range allKeys {
		if id != dayKey && !alike(before[id], found[id]) || id == dayKey && found[id] != nil {
			t.Errorf("%s is another key, or not as it was", id)
		}
	}
	n.erasedRefusal(restored, dayKey)
	if !bytes.Equal(v.MasterMAC("handle", nil), restored.MasterMAC("handle", nil)) {
		t.Error("names have changed")
	}
	if got, err = n.restore(path); err != nil || got.Added != 0 {
		t.Errorf("once more it restored %+v: %v", got, err)
	}
}

func many(prefix string, n int) []domain.KeyID {
	ids := make([]domain.KeyID, n)
	for i := range ids {
		ids[i] = domain.KeyID(fmt.Sprint(prefix, i))
	}
	return ids
}

func TestBackup_is_not_written_over_a_file(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	v := r.open()
	path := filepath.Join(t.TempDir(), "mine")
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Backup(t.Context(), path, logID, 1); !errors.Is(err, newfile.ErrTaken) {
		t.Errorf("got %v", err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "mine" {
		t.Errorf("it holds %q: %v", text, err)
	}
	other := filepath.Join(t.TempDir(), "other")
	if err := os.Symlink(path, other+".partial"); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Backup(t.Context(), other, logID, 1); !errors.Is(err, newfile.ErrPartial) {
		t.Errorf("where another's partial lies: %v", err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "mine" {
		t.Errorf("it holds %q: %v", text, err)
	}
	if _, err := v.Backup(t.Context(), filepath.Join(path, "below"), logID, 1); err == nil {
		t.Error("it was written below a file")
	}
}

// A mark wins wherever it is, and the erased of the log are erased in the same transaction.
func TestRestore_merges(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	v := r.open()
	r.ensure(v, allKeys...)
	r.ensure(v, domain.AuthorKey(acme, second, mara), domain.SessionKey(acme, second))
	older := r.backup()
	r.destroy(dayKey)
	newer := r.backup()
	r.ensure(v, domain.UserKey(acme, "usr_9")) // in no backup
	r.destroy(sessionKey)

	if got, err := r.restore(older); err != nil || got.Added != 0 {
		t.Fatalf("restored %+v: %v", got, err)
	}
	all := []domain.KeyID{orgKey, userKey, authorKey, dayKey, sessionKey, domain.UserKey(acme, "usr_9")}
	r.has(r.open(), all, []domain.KeyID{orgKey, userKey, authorKey, domain.UserKey(acme, "usr_9")})

	n := r.another()
	if _, err := n.restore(older); err != nil {
		t.Fatal(err)
	}
	n.has(n.open(), all, []domain.KeyID{orgKey, userKey, authorKey, dayKey, sessionKey})
	if _, err := n.restore(newer); err != nil {
		t.Fatal(err)
	}
	n.has(n.open(), all, []domain.KeyID{orgKey, userKey, authorKey, sessionKey})

	if err := n.open().NoteApplied(t.Context(), logID, 0, 9); err != nil {
		t.Fatal(err)
	}
	if _, err := n.restore(older, Erased{acme, olga}, Erased{acme, "usr_never"}); err != nil {
		t.Fatal(err)
	}
	all = append(all, domain.AuthorKey(acme, second, mara), domain.SessionKey(acme, second))
	n.has(n.open(), all, []domain.KeyID{orgKey, domain.AuthorKey(acme, second, mara), domain.SessionKey(acme, second)})
	if at, err := Applied(t.Context(), n.pool, logID); err != nil || at != 0 {
		t.Errorf("the next start looks for erasures from %d on: %v", at, err)
	}
}

func TestRestore_after_a_rotation_needs_the_key_of_the_backup_s_time(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.ensure(r.open(), allKeys...)
	older, path := r.backup(), r.keyFile()
	if _, err := r.open().Rotate(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	r.restart(path, "")
	if _, err := r.restore(older); !errors.Is(err, ErrOtherMaster) {
		t.Errorf("got %v", err)
	}
	newer := r.backup()
	if got, err := r.restore(newer); err != nil || got.Added != 0 {
		t.Errorf("restored %+v: %v", got, err)
	}
}

// TestRestore_refuses what is cut, changed or foreign, and changes nothing.
func TestRestore_refuses(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.ensure(r.open(), allKeys...)
	r.destroy(dayKey)
	text, err := os.ReadFile(r.backup())
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	lines = lines[:len(lines)-1]
	without := func(i int) []byte {
		return bytes.Join(append(append([][]byte(nil), lines[:i]...), lines[i+1:]...), nil)
	}
	changed := func(old, to string) []byte {
		c := bytes.Replace(text, []byte(old), []byte(to), 1)
		if bytes.Equal(c, text) {
			t.Fatalf("there is no %s", old)
		}
		return c
	}
	cases := map[string]struct {
		text []byte
		want error
	}{
		"an empty file":                {nil, ErrNoBackup},
		"a picture":                    {[]byte("\x89PNG\r\n\x1a\n"), ErrNoBackup},
		"a backup of the future":       {changed("backup 1", "backup 2"), ErrNoBackup},
		"one without its last line":    {without(len(lines) - 1), ErrCut},
		"one without its last newline": {text[:len(text)-1], ErrCut},
		"one that goes on":             {append(bytes.Clone(text), '\n'), ErrCut},
		"one that is there twice":      {append(bytes.Clone(text), text...), ErrCut},
		"another position":             {changed(`"position":42`, `"position":43`), ErrCut},
		"another log's id":             {changed(logID, "log-2"), ErrCut},
		"another count":                {changed(`"keys":5`, `"keys":4`), ErrCut},
		"a mark that was taken away":   {changed(`"destroyed_at"`, `"destroyed_on"`), ErrCut},
	}
	for i := 1; i < len(lines)-1; i++ {
		cases[fmt.Sprintf("one without line %d", i)] = struct {
			text []byte
			want error
		}{without(i), ErrCut}
	}
	path := filepath.Join(t.TempDir(), "bad")
	refuses := func(r *rig, what string, want error) {
		t.Helper()
		n := r.another()
		if _, err := n.restore(path); !errors.Is(err, want) {
			t.Errorf("%s: %v", what, err)
		} else if !strings.Contains(err.Error(), "nothing was changed") {
			t.Errorf("%s: it does not say that nothing was changed: %v", what, err)
		}
		if fresh, err := Fresh(t.Context(), n.pool); err != nil || !fresh {
			t.Errorf("%s: something was changed: %v", what, err)
		}
	}
	write := func(text []byte) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range cases {
		write(c.text)
		refuses(r, name, c.want)
	}
	write(text)
	stranger := newRig(t)
	refuses(stranger, "another master key", ErrOtherMaster)
	n := r.another()
	if _, err := Restore(t.Context(), n.pool, n.master, path, []string{"log-2"}, nil); !errors.Is(err, ErrOtherLog) {
		t.Errorf("another log: %v", err)
	}
}

// TestRestore_proves_every_byte: no byte of a backup can be another.
func TestRestore_proves_every_byte(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	v := r.open()
	r.ensure(v, sessionKey)
	text, err := os.ReadFile(r.backup())
	if err != nil {
		t.Fatal(err)
	}
	for i := range text {
		bad := bytes.Clone(text)
		bad[i] ^= 1
		_, _, err := read(bytes.NewReader(bad), v.master, []string{logID}, nil)
		if err == nil {
			t.Fatalf("byte %d of %q can be another", i, text)
		}
	}
	for i := range text {
		if _, _, err := read(bytes.NewReader(text[:i]), v.master, []string{logID}, nil); err == nil {
			t.Fatalf("it can be cut to %d bytes", i)
		}
	}
}

// A key that differs is of another history: nothing of the backup is taken.
func TestRestore_refuses_a_whole_backup_where_one_key_differs(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.ensure(r.open(), allKeys...)
	path := r.backup()
	for _, differs := range []domain.KeyID{orgKey, sessionKey} {
		n := r.another()
		v := n.open()
		n.ensure(v, differs)
		was := n.stored(differs)
		if _, err := n.restore(path); !errors.Is(err, ErrDiffers) {
			t.Errorf("%s: %v", differs, err)
		}
		if !bytes.Equal(was, n.stored(differs)) {
			t.Errorf("%s was replaced", differs)
		}
		if unknown, err := Unknown(t.Context(), v.pool, []domain.KeyID{userKey, authorKey}); err != nil || len(unknown) != 2 {
			t.Errorf("%s: something else was taken: %v", differs, err)
		}
	}
}
