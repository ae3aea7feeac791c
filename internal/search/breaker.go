package search

import (
	"sync"
	"time"
)

// breaker keeps questions from an engine that has just failed several of them.
type breaker struct {
	mu       sync.Mutex
	now      func() time.Time
	failures []time.Time // the last of them, oldest first
	until    time.Time   // open until then; zero: closed
}

const (
	breakAfter  = 5
	breakWithin = 10 * time.Second
	breakFor    = 5 * time.Second
)

// allow says whether to ask. When the breaker has been open long enough it lets one through, and
// none besides until that one is reported or as much time has passed again.
func (b *breaker) allow() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.until.IsZero() {
		return true
	}
	now := b.now()
	if now.Before(b.until) {
		return false
	}
	b.until = now.Add(breakFor)
	return true
}

func (b *breaker) success() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.until, b.failures = time.Time{}, nil
}

func (b *breaker) failure() {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	if !b.until.IsZero() {
		b.until = now.Add(breakFor)
		return
	}
	b.failures = append(b.failures, now)
	if len(b.failures) < breakAfter {
		return
	}
	b.failures = b.failures[len(b.failures)-breakAfter:]
	if now.Sub(b.failures[0]) <= breakWithin {
		b.until = now.Add(breakFor)
	}
}
