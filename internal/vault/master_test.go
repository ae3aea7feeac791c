package vault

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"prelude/internal/eventlog"
)

func TestMasterKey(t *testing.T) {
	t.Parallel()
	t.Run("is made for what is fresh, for its owner alone, and is the same from then on", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "master.key")
		key, made, err := MasterKey(path, true)
		if err != nil || !made || len(key) != eventlog.KeySize {
			t.Fatalf("%d bytes, made %v: %v", len(key), made, err)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v: %v", info.Mode(), err)
		}
		again, made, err := MasterKey(path, true)
		if err != nil || made || !bytes.Equal(key, again) {
			t.Errorf("it is another one: made %v: %v", made, err)
		}
		files, err := os.ReadDir(filepath.Dir(path))
		if err != nil || len(files) != 1 {
			t.Errorf("%d files lie there: %v", len(files), err)
		}
	})
	t.Run("that is missing is not made where something was sealed", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "master.key")
		if _, _, err := MasterKey(path, false); !errors.Is(err, ErrMasterMissing) {
			t.Errorf("got %v", err)
		}
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a file was made: %v", err)
		}
	})
	for name, text := range map[string]string{
		"that is empty":         "",
		"that is not base64":    "the key is under the mat, as always it is",
		"of 16 bytes":           base64.StdEncoding.EncodeToString(make([]byte, 16)),
		"of 33 bytes":           base64.StdEncoding.EncodeToString(make([]byte, 33)),
		"with a second one":     base64.StdEncoding.EncodeToString(make([]byte, 32)) + "\nAAAA",
		"that is cut by a byte": base64.StdEncoding.EncodeToString(make([]byte, 32))[:43],
	} {
		t.Run(name+" is refused and left as it is", func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "master.key")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, _, err := MasterKey(path, true); !errors.Is(err, ErrMasterForm) {
				t.Errorf("got %v", err)
			}
			if left, err := os.ReadFile(path); err != nil || string(left) != text {
				t.Errorf("the file was changed: %v", err)
			}
		})
	}
	t.Run("that cannot be read is a fault", func(t *testing.T) {
		t.Parallel()
		_, _, err := MasterKey(t.TempDir(), true)
		if err == nil || errors.Is(err, ErrMasterMissing) || errors.Is(err, ErrMasterForm) {
			t.Errorf("got %v", err)
		}
	})
}

func TestOpen_refuses_another_master_key_and_changes_nothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.ensure(r.open(), allKeys...)
	before := r.stored(orgKey)
	for range 2 {
		if _, err := Open(t.Context(), r.pool, random()); !errors.Is(err, ErrMasterWrong) {
			t.Fatalf("got %v", err)
		}
	}
	if !bytes.Equal(before, r.stored(orgKey)) {
		t.Error("a key was overwritten")
	}
	if found := r.find(r.open(), allKeys...); len(found) != len(allKeys) {
		t.Errorf("the right master key opens %d keys", len(found))
	}
	if _, err := Open(t.Context(), r.pool, random()[:16]); err == nil {
		t.Error("a short master key was taken")
	}
}

func TestCheck_holds_a_master_key_against_the_vault(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if err := Check(t.Context(), r.pool, r.master); err == nil || errors.Is(err, ErrMasterWrong) {
		t.Errorf("before there is a proof: %v", err)
	}
	r.open()
	if err := Check(t.Context(), r.pool, r.master); err != nil {
		t.Error(err)
	}
	if err := Check(t.Context(), r.pool, random()); !errors.Is(err, ErrMasterWrong) {
		t.Errorf("another one: %v", err)
	}
	if err := Check(t.Context(), r.pool, random()[:16]); err == nil {
		t.Error("a short one is taken")
	}
}

func TestOpen_lets_one_of_two_first_master_keys_win(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var all sync.WaitGroup
	wins := make(chan error, 6)
	for range cap(wins) {
		all.Go(func() {
			_, err := Open(t.Context(), r.pool, random())
			wins <- err
		})
	}
	all.Wait()
	close(wins)
	won := 0
	for err := range wins {
		if err == nil {
			won++
		} else if !errors.Is(err, ErrMasterWrong) {
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("%d master keys were taken", won)
	}
}

func TestFresh_says_whether_a_vault_was_opened_before(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, want := range []bool{true, false} {
		fresh, err := Fresh(t.Context(), r.pool)
		if err != nil || fresh != want {
			t.Errorf("fresh: %v, want %v: %v", fresh, want, err)
		}
		r.open()
	}
}
