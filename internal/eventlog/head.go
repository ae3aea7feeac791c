package eventlog

import (
	"context"
	"fmt"
	"strings"
	"sync"
)

// ends are the log's last positions, as they were found last.
type ends struct {
	mu        sync.Mutex
	end, head Position
}

// Head is the position of the last event outside the store's own streams ("$…"); 0: there is none. Whoever waits for a
// reader waits for this position: a store adds events of its own at the end, of which no subscription of ours ever
// hears, so that a wait for the position of one might never end. There may be millions of those, so each is read past
// once.
func (l *Log) Head(ctx context.Context) (Position, error) {
	l.known.mu.Lock()
	knownEnd, knownHead := l.known.end, l.known.head
	l.known.mu.Unlock()
	end := Position(0)
	for _, limit := range []uint64{1, 0} { // nearly always the last event is the one
		for raw, err := range l.Store.ReadAll(ctx, End, Backwards, limit) {
			if err != nil {
				return 0, fmt.Errorf("read the log's end: %w", err)
			}
			if end = max(end, raw.Position); !strings.HasPrefix(raw.Stream, "$") {
				return l.found(end, raw.Position), nil
			}
			if raw.Position <= knownEnd && knownEnd <= end {
				return l.found(end, knownHead), nil
			}
		}
	}
	return l.found(end, 0), nil
}

// found notes what was found.
func (l *Log) found(end, head Position) Position {
	l.known.mu.Lock()
	defer l.known.mu.Unlock()
	l.known.end, l.known.head = end, head
	return head
}

// End is the position of the log's very last event, the store's own included; 0: the log is empty. A checkpoint beyond
// it is of another log.
func (l *Log) End(ctx context.Context) (Position, error) {
	for raw, err := range l.Store.ReadAll(ctx, End, Backwards, 1) {
		if err != nil {
			return 0, fmt.Errorf("read the log's end: %w", err)
		}
		return raw.Position, nil
	}
	return 0, nil
}
