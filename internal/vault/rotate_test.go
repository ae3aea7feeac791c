package vault

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"prelude/domain"
	"prelude/internal/eventlog"
)

func position(n uint64) eventlog.Position { return eventlog.Position(n) }

// keyFile puts the rig's master key into a file.
func (r *rig) keyFile() string {
	r.t.Helper()
	path := filepath.Join(r.t.TempDir(), "master.key")
	r.putKey(path, r.master)
	return path
}

func (r *rig) putKey(path string, key []byte) {
	r.t.Helper()
	if err := os.WriteFile(path, []byte(base64.StdEncoding.EncodeToString(key)+"\n"), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// restart opens the vault as a start of the program does, with what lies there.
func (r *rig) restart(path, found string) *Vault {
	r.t.Helper()
	got, err := Settle(r.t.Context(), r.pool, path)
	if err != nil || got != found {
		r.t.Fatalf("it finds %q: %v", got, err)
	}
	if r.master, _, err = MasterKey(path, false); err != nil {
		r.t.Fatal(err)
	}
	return r.open()
}

func TestRotate(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	path, old := r.keyFile(), r.master
	v := r.open()
	ids := append([]domain.KeyID(nil), allKeys...)
	for i := range 2*page + 3 { // more than one page
		ids = append(ids, domain.KeyID(fmt.Sprint("u.2.", i)))
	}
	insertMany(r, ids)
	before, name := r.find(v, ids...), v.MasterMAC("handle", []byte("olga"))
	r.destroy("u.2.7")
	session := r.stored(sessionKey)
	stale := r.open()
	keys, err := v.Rotate(t.Context(), path)
	if want := 2*page + 3 + 2 - 1; err != nil || keys != want {
		t.Fatalf("%d keys, want %d: %v", keys, want, err)
	}
	fresh := r.restart(path, "")
	if bytes.Equal(old, r.master) {
		t.Fatal("the file holds the old key")
	}
	after := r.find(fresh, ids...)
	for _, id := range ids {
		if gone := id == "u.2.7"; gone != (after[id] == nil) || !gone && !alike(before[id], after[id]) {
			t.Fatalf("%s is another key, or none", id)
		}
	}
	if r.stored("u.2.7") != nil {
		t.Error("a destroyed key came back")
	}
	if !bytes.Equal(session, r.stored(sessionKey)) {
		t.Error("a key was wrapped anew that the master key does not wrap")
	}
	for of, m := range map[string]*Vault{"a new start": fresh, "who rotated": v} {
		if !bytes.Equal(name, m.MasterMAC("handle", []byte("olga"))) {
			t.Errorf("%s: names have changed", of)
		}
	}
	r.ensure(v, "u.1.new")
	t.Run("refuses the old key", func(t *testing.T) {
		if _, err := Open(t.Context(), r.pool, old); !errors.Is(err, ErrMasterWrong) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("lets a process that does not know of it make no key that only the old one opens", func(t *testing.T) {
		if err := stale.Ensure(t.Context(), "u.1.stale"); !errors.Is(err, ErrMasterWrong) {
			t.Errorf("got %v", err)
		}
		if n, err := Unknown(t.Context(), fresh.pool, []domain.KeyID{"u.1.stale"}); err != nil || len(n) != 1 {
			t.Errorf("it was stored: %v", err)
		}
	})
	t.Run("is refused to who does not have the key of now", func(t *testing.T) {
		if _, err := stale.Rotate(t.Context(), path); !errors.Is(err, ErrMasterWrong) {
			t.Errorf("got %v", err)
		}
		r.restart(path, Abandoned)
	})
}

// insertMany makes keys; those beyond the rig's own by one statement, for they are many.
func insertMany(r *rig, ids []domain.KeyID) {
	r.t.Helper()
	r.ensure(r.open(), allKeys...)
	master, err := eventlog.NewKey(r.master)
	if err != nil {
		r.t.Fatal(err)
	}
	var names []string
	var wrapped [][]byte
	for _, id := range ids[len(allKeys):] {
		names, wrapped = append(names, string(id)), append(wrapped, master.Seal(random(), []byte(id)))
	}
	r.sql(`INSERT INTO vault.keys (id, wrapped) SELECT * FROM unnest($1::text[], $2::bytea[])`, names, wrapped)
}

// TestRotate_cut_off ends a rotation at each step, and starts again from what lies there.
func TestRotate_cut_off(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cut   func(r *rig, v *Vault, path string)
		found string
		moved bool // the new key is the right one
	}{
		"while the new key is written": {cut: func(r *rig, _ *Vault, path string) {
			if err := os.WriteFile(next(path)+".new", []byte("AAA"), 0o600); err != nil {
				r.t.Fatal(err)
			}
		}},
		"before the vault has changed": {found: Abandoned, cut: func(r *rig, _ *Vault, path string) {
			if _, err := newMaster(next(path)); err != nil {
				r.t.Fatal(err)
			}
		}},
		"while the vault changes": {found: Abandoned, cut: func(r *rig, v *Vault, path string) {
			raw, err := newMaster(next(path))
			if err != nil {
				r.t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(r.t.Context())
			r.sql(`CREATE FUNCTION vault.stop() RETURNS trigger LANGUAGE plpgsql AS
				'BEGIN RAISE EXCEPTION ''cut off''; END'; CREATE TRIGGER stop BEFORE UPDATE ON vault.master
				FOR EACH ROW WHEN (NEW.proof <> OLD.proof) EXECUTE FUNCTION vault.stop()`)
			if _, err := v.rewrap(ctx, raw); err == nil || !strings.Contains(err.Error(), "cut off") {
				r.t.Errorf("the vault has changed: %v", err)
			}
			r.sql(`DROP TRIGGER stop ON vault.master`)
			cancel()
		}},
		"after the vault has changed": {found: Completed, moved: true, cut: func(r *rig, v *Vault, path string) {
			raw, err := newMaster(next(path))
			if err != nil {
				r.t.Fatal(err)
			}
			if _, err := v.rewrap(r.t.Context(), raw); err != nil {
				r.t.Fatal(err)
			}
		}},
		"after the vault has changed, and the old key is lost": {found: Completed, moved: true,
			cut: func(r *rig, v *Vault, path string) {
				raw, err := newMaster(next(path))
				if err != nil {
					r.t.Fatal(err)
				}
				if _, err := v.rewrap(r.t.Context(), raw); err != nil {
					r.t.Fatal(err)
				}
				if err := os.Remove(path); err != nil {
					r.t.Fatal(err)
				}
			}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			path, old := r.keyFile(), r.master
			v := r.open()
			r.ensure(v, allKeys...)
			before, mac := r.find(v, allKeys...), v.MasterMAC("handle", []byte("olga"))
			c.cut(r, v, path)
			started := r.restart(path, c.found)
			if bytes.Equal(old, r.master) == c.moved {
				t.Errorf("the key has changed: %v", !c.moved)
			}
			found := r.find(started, allKeys...)
			for _, id := range allKeys {
				if !alike(before[id], found[id]) {
					t.Errorf("%s is another key, or none", id)
				}
			}
			if !bytes.Equal(mac, started.MasterMAC("handle", []byte("olga"))) {
				t.Error("names have changed")
			}
			was := r.master
			if _, err := started.Rotate(t.Context(), path); err != nil { // it can be done after all
				t.Fatal(err)
			}
			started = r.restart(path, "")
			if bytes.Equal(was, r.master) || len(r.find(started, allKeys...)) != len(allKeys) {
				t.Error("it was not rotated then")
			}
		})
	}
}

func TestSettle_does_not_choose_between_two_wrong_keys(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	path := r.keyFile()
	r.open()
	r.putKey(path, random())
	r.putKey(next(path), random())
	if _, err := Settle(t.Context(), r.pool, path); !errors.Is(err, ErrMasterWrong) {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(next(path), []byte("under the mat"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Settle(t.Context(), r.pool, path); !errors.Is(err, ErrMasterForm) {
		t.Errorf("got %v", err)
	}
	r.putKey(next(path), random())
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := Settle(t.Context(), r.pool, path); !errors.Is(err, ErrMasterMissing) {
		t.Errorf("got %v", err)
	}
	r.putKey(path, r.master)
	if files, err := os.ReadDir(filepath.Dir(path)); err != nil || len(files) != 2 {
		t.Errorf("%d files lie there: %v", len(files), err)
	}
}

func TestSettle_leaves_alone_what_lies_beside_an_empty_vault(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	path := r.keyFile()
	r.putKey(next(path), random())
	r.restart(path, "")
	r.restart(path, Abandoned) // by then it has a key
}

// The vault of a program of before has no key of names: the first start makes it of the master key's own.
func TestOpen_keeps_the_names_that_were_made_before_there_was_a_key_for_them(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open()
	r.sql("UPDATE vault.master SET mac = NULL")
	master, err := eventlog.NewKey(r.master)
	if err != nil {
		t.Fatal(err)
	}
	want := master.MAC("handle", []byte("olga"))
	v := r.open()
	if !bytes.Equal(want, v.MasterMAC("handle", []byte("olga"))) {
		t.Error("they have changed")
	}
	path := r.keyFile()
	if _, err := v.Rotate(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, r.restart(path, "").MasterMAC("handle", []byte("olga"))) {
		t.Error("they have changed with the rotation")
	}
}
