package eventlog

import (
	"context"
	"errors"
	"time"
)

// Rereads is how often a stream is read that is deleted or cut while it is read.
const Rereads = 4

const rereadPause = 5 * time.Millisecond

// Unchanged lets fn read a stream, and read it again from where it began while that is deleted or cut meanwhile, a few
// times. Error: what fn returned last, [ErrChanged] among it.
func Unchanged(ctx context.Context, fn func(again bool) error) error {
	for n := 1; ; n++ {
		err := fn(n > 1)
		if !errors.Is(err, ErrChanged) || n == Rereads {
			return err
		}
		select {
		case <-time.After(rereadPause):
		case <-ctx.Done():
			return err
		}
	}
}
