package esnode

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"
)

// Compacted says what a compaction did; sizes are of the log's file, in bytes.
type Compacted struct {
	Counts  // what is left
	Removed int64
	Before  int64
	After   int64
}

// Compact removes what no reader can see any more: what is before a stream's $tb or beyond its
// $maxCount or $maxAge, and the events of deleted streams. The last event of a stream, tombstones
// and the log's last event stay, and so do all positions and revisions. The log is written anew,
// and takes its place when it is whole; until then the old one is untouched. No node may have the
// folder open. Errors: ErrLocked.
func Compact(ctx context.Context, dir string, progress Progress) (c Compacted, err error) {
	file, err := present(dir)
	if err != nil {
		return c, err
	}
	lock, err := lockDir(dir)
	if err != nil {
		return c, err
	}
	if err = current(file); err == nil {
		err = c.run(ctx, file, progress)
	}
	return c, errors.Join(err, lock.Close())
}

func (c *Compacted) run(ctx context.Context, file string, progress Progress) error {
	from, err := openWriting(file)
	if err != nil {
		return err
	}
	if c.Before, err = size(file); err != nil {
		return errors.Join(err, from.close())
	}
	progress.tell("counting", 0, 0)
	all, err := from.number("SELECT count(*) FROM events")
	if err != nil {
		return errors.Join(fmt.Errorf("count the events: %w", err), from.close())
	}
	err = replace(file, func(partial string) (err error) {
		k := keeper{conn: from, states: newCache[int64, state](cachedStates), now: time.Now()}
		r := rewriting{from: from, file: partial, keeps: k.keeps, progress: progress}
		c.Counts, err = r.run(ctx)
		if err = errors.Join(err, from.close()); err == nil {
			err = sound(ctx, partial, progress)
		}
		if err == nil {
			// What lies beside the old file would be taken for the new one's.
			err = alone(file)
		}
		if err == nil {
			err = makeLive(partial)
		}
		return err
	})
	c.Removed = all - c.Events
	if err == nil {
		c.After, err = size(file)
	}
	return err
}

// alone says that nothing of a log lies beside its file, which is so when nobody has it open, and stays so after a
// crash.
func alone(file string) error {
	if info, err := os.Stat(file + "-wal"); err == nil && info.Size() > 0 {
		return errors.New("somebody still reads the log: wait until they have ended")
	}
	return syncFile(filepath.Dir(file)) // that it is gone must not be lost in a crash after the new file is there
}

func size(file string) (int64, error) {
	info, err := os.Stat(file)
	if err != nil {
		return 0, fmt.Errorf("look at the log: %w", err)
	}
	return info.Size(), nil
}

// keeper knows what the limits of the streams leave.
type keeper struct {
	conn   *conn
	states *cache[int64, state]
	now    time.Time
}

func (k *keeper) keeps(r *record) (bool, error) {
	s, ok := k.states.get(r.stream)
	if !ok {
		var err error
		if s, err = k.conn.load(string(streamOf(r.frame)), math.MaxInt64); err != nil {
			return false, err
		}
		k.states.put(r.stream, s)
	}
	if r.rev == s.last || r.rev == deletedBefore {
		return true, nil
	}
	if s.dead || r.rev < s.low() {
		return false, nil
	}
	old, err := s.expired(r, k.now)
	return !old, err
}
