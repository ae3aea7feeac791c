package newfile

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

const letter = "a letter of somebody else"

// others expects that a file is as somebody else left it.
func others(t *testing.T, file string) {
	t.Helper()
	if b, err := os.ReadFile(file); err != nil || string(b) != letter {
		t.Errorf("%s holds %q, %v", file, b, err)
	}
}

func leave(t *testing.T, file string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(letter), 0o600); err != nil {
		t.Fatal(err)
	}
}

func noFile(t *testing.T, file string) {
	t.Helper()
	if _, err := os.Lstat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is there: %v", file, err)
	}
}

// never is a filling that is not asked for.
func never(t *testing.T) func(string) error {
	return func(string) error {
		t.Error("it is filled")
		return nil
	}
}

func TestMake(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	broken := errors.New("the disk is broken")
	fill := func(text string, err error) func(string) error {
		return func(partial string) error { return errors.Join(os.WriteFile(partial, []byte(text), 0o600), err) }
	}
	if err := Make(file, fill("half", broken)); !errors.Is(err, broken) {
		t.Errorf("cut off, it says %v", err)
	}
	noFile(t, file)
	noFile(t, file+".partial")
	if err := Make(file, fill(letter, nil)); err != nil {
		t.Fatal(err)
	}
	others(t, file)
	noFile(t, file+".partial")
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("its mode is %v, %v", info.Mode(), err)
	}
	if err := Make(file, never(t)); !errors.Is(err, ErrTaken) {
		t.Errorf("once more, it says %v", err)
	}
	if err := Make(filepath.Join(file, "below"), never(t)); err == nil {
		t.Error("a file is made in a file")
	}
}

// Nothing is written over or removed that was not made here, not even what comes meanwhile.
func TestMake_leaves_what_it_has_not_made(t *testing.T) {
	t.Parallel()
	t.Run("a partial of others", func(t *testing.T) {
		t.Parallel()
		file := filepath.Join(t.TempDir(), "backup")
		leave(t, file+".partial")
		err := Make(file, never(t))
		if !errors.Is(err, ErrPartial) {
			t.Errorf("it says %v", err)
		}
		others(t, file+".partial")
		noFile(t, file)
	})
	t.Run("a link that leads elsewhere", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		file := filepath.Join(dir, "backup")
		leave(t, filepath.Join(dir, "theirs"))
		for _, name := range []string{file, file + ".partial"} {
			if err := os.Symlink("theirs", name); err != nil {
				t.Fatal(err)
			}
			if err := Make(file, never(t)); !errors.Is(err, ErrTaken) && !errors.Is(err, ErrPartial) {
				t.Errorf("it says %v", err)
			}
			others(t, name)
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
		others(t, filepath.Join(dir, "theirs"))
	})
	t.Run("a file that comes meanwhile", func(t *testing.T) {
		t.Parallel()
		file := filepath.Join(t.TempDir(), "backup")
		err := Make(file, func(partial string) error {
			leave(t, file)
			return os.WriteFile(partial, []byte("ours"), 0o600)
		})
		if !errors.Is(err, ErrTaken) {
			t.Errorf("it says %v", err)
		}
		others(t, file)
		noFile(t, file+".partial")
	})
	t.Run("two at once", func(t *testing.T) {
		t.Parallel()
		file := filepath.Join(t.TempDir(), "backup")
		err := Make(file, func(string) error {
			err := Make(file, never(t))
			if !errors.Is(err, ErrPartial) {
				t.Errorf("the second says %v", err)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// Where the file system knows no second names, nothing is written over either.
func TestTake_without_links(t *testing.T) {
	t.Parallel()
	for _, refusal := range []error{unix.EPERM, unix.ENOTSUP, unix.ENOSYS} {
		link := func(from, to string) error { return &os.LinkError{Op: "link", Old: from, New: to, Err: refusal} }
		dir := t.TempDir()
		partial, file := filepath.Join(dir, "partial"), filepath.Join(dir, "file")
		leave(t, partial)
		if moved, err := take(partial, file, link); err != nil || !moved {
			t.Fatal(moved, err)
		}
		others(t, file)
		noFile(t, partial)
		if err := os.WriteFile(partial, []byte("ours"), 0o600); err != nil {
			t.Fatal(err)
		}
		if moved, err := take(partial, file, link); err == nil || moved {
			t.Errorf("a file is written over: %v, %v", moved, err)
		}
		others(t, file)
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		if moved, err := take(filepath.Join(dir, "none"), file, link); err == nil || moved {
			t.Errorf("nothing is moved: %v, %v", moved, err)
		}
		noFile(t, file)
	}
	broken := errors.New("the disk is broken")
	dir := t.TempDir()
	_, err := take(dir, filepath.Join(dir, "file"), func(string, string) error { return broken })
	if !errors.Is(err, broken) {
		t.Errorf("it says %v", err)
	}
}
