package esnode

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"prelude/internal/filelock"
	"prelude/internal/newfile"
)

// Backup copies the log of a folder, as it stands now, into a file, also while a node has the
// folder open. Each record is checked on its way, and the copy once more before it gets its name.
// No file that is there is written over or removed.
func Backup(ctx context.Context, dir, file string, progress Progress) (c Counts, err error) {
	if err := newfile.Free(file); err != nil {
		return c, fmt.Errorf("%s: %w", file, err) // before what takes long
	}
	l, err := look(dir)
	if err != nil {
		return c, err
	}
	err = newfile.Make(file, func(partial string) (err error) {
		c, err = (&rewriting{from: l.conn, file: partial, progress: progress}).run(ctx)
		if err == nil {
			err = sound(ctx, partial, progress)
		}
		return err
	})
	if err != nil {
		err = fmt.Errorf("make %s: %w", file, refused(filepath.Dir(file), err))
	}
	return c, errors.Join(err, l.close())
}

// sound verifies a file that was just written.
func sound(ctx context.Context, file string, progress Progress) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("open the copy: %w", err)
	}
	var first error
	_, err = verify(ctx, f, nil, progress.of("the copy's "), func(p Problem) {
		if first == nil {
			first = fmt.Errorf("the copy is damaged: %s", p)
		}
	})
	return errors.Join(err, first, f.Close())
}

const restoring = "restore.partial"

// Restore puts a backup into a folder that has no log, and calls finish with the folder in which it
// is, before it gets its place. If anything is wrong, nothing of it is left.
func Restore(
	ctx context.Context, file, dir string, finish func(dir string) error, progress Progress,
) (c Counts, err error) {
	from, version, err := openBackup(file)
	if err != nil {
		return c, err
	}
	made, lock, err := vacant(dir)
	if err != nil {
		return c, errors.Join(err, from.close())
	}
	partial := filepath.Join(dir, restoring)
	c, err = restore(ctx, &rewriting{from: from, old: version, progress: progress}, partial)
	if err = errors.Join(err, from.close()); err == nil && finish != nil {
		err = finish(partial)
	}
	if err == nil {
		err = settle(filepath.Join(partial, logFile), filepath.Join(dir, logFile))
	}
	err = errors.Join(err, os.RemoveAll(partial))
	if err != nil && made {
		err = errors.Join(err, os.Remove(filepath.Join(dir, "lock")), os.Remove(dir))
	}
	return c, errors.Join(err, lock.Close())
}

func restore(ctx context.Context, r *rewriting, partial string) (Counts, error) {
	// What a restore that was killed has left is of no use.
	if err := errors.Join(os.RemoveAll(partial), os.Mkdir(partial, 0o700)); err != nil {
		return Counts{}, fmt.Errorf("make a folder for the backup: %w", err)
	}
	r.file = filepath.Join(partial, logFile)
	c, err := r.run(ctx)
	if err != nil {
		return c, fmt.Errorf("the backup cannot be restored: %w", err)
	}
	return c, makeLive(r.file)
}

// settle gives a log that no node has open its place.
func settle(from, to string) error {
	if info, err := os.Stat(from + "-wal"); err == nil && info.Size() > 0 {
		return errors.New("the log's last changes are still beside it")
	}
	err := errors.Join(orphaned(to), syncFile(from))
	if err == nil {
		err = os.Rename(from, to)
	}
	if err == nil {
		err = syncFile(filepath.Dir(to))
	}
	if err != nil {
		return fmt.Errorf("put the log in its place: %w", err)
	}
	return nil
}

// orphaned refuses what a log has left beside its file, where the file is gone: SQLite would lay it
// over whatever file comes there. Where it is empty, it says still that there was a log.
func orphaned(file string) error {
	left := file + "-wal"
	if _, err := os.Lstat(left); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("look for what was written last: %w", err)
	}
	return fmt.Errorf("%s is missing, and what was written last to it is there, in %s: it belongs to that log. "+
		"Put the log back, or move both away; nothing was changed", file, filepath.Base(left))
}

// openBackup opens a backup to read it, if it is one and whole. version is its format.
func openBackup(file string) (*conn, int, error) {
	if err := registerSums(); err != nil {
		return nil, 0, err
	}
	version, err := formatOf(file)
	if err != nil {
		return nil, 0, err
	}
	if err := whole(file); err != nil {
		return nil, 0, err
	}
	more := "&immutable=1"
	if version == format {
		more += "&vfs=" + sumsVFS
	}
	c, err := openConn(plainDSN(file, more))
	if err == nil && version == format {
		if err = c.prepare(); err != nil {
			err = errors.Join(fmt.Errorf("open the backup: %w", damageOf(err)), c.close())
		}
	}
	return c, version, err
}

// whole holds a file's size against the number of pages that its head tells.
func whole(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("open the backup: %w", err)
	}
	head := make([]byte, headSize)
	_, err = io.ReadFull(f, head)
	info, statErr := f.Stat()
	if err = errors.Join(err, statErr, f.Close()); err != nil {
		return fmt.Errorf("read the backup's head: %w", err)
	}
	pages := int64(binary.BigEndian.Uint32(head[headPages:]))
	want := pages * int64(binary.BigEndian.Uint16(head[headPageSize:]))
	if info.Size() != want {
		return fmt.Errorf("the backup %s is not whole: it has %d bytes of %d", file, info.Size(), want)
	}
	return nil
}

// vacant takes a folder that has no log; made says that it was not there.
func vacant(dir string) (made bool, lock *filelock.Lock, err error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		made = true
	}
	if err := makeDir(dir); err != nil {
		return false, nil, err
	}
	lock, err = lockDir(dir)
	if err != nil {
		return false, nil, err
	}
	file := filepath.Join(dir, logFile)
	_, err = os.Lstat(file)
	if errors.Is(err, fs.ErrNotExist) {
		if err = orphaned(file); err == nil {
			return made, lock, nil
		}
		return false, nil, errors.Join(err, lock.Close())
	}
	if err == nil {
		err = fmt.Errorf("%s holds a log already: it is not written over. "+
			"Restore into another folder, or move this one away first", dir)
	}
	return false, nil, errors.Join(err, lock.Close())
}
