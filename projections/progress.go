package projections

import (
	"context"
	"slices"
	"strings"
	"sync"

	"prelude/internal/eventlog"
)

// Progress knows how far each reader has come, and how far the log has: readers' checkpoints stand still where
// nothing for them happens, so the live subscription tells what there was for whom. What another instance applies
// it knows from the checkpoints' rows, as [Peers] reads them.
type Progress struct {
	readers []Reader
	mu      sync.Mutex
	at      map[string]eventlog.Position // applied
	mine    map[string]bool              // readers that this process feeds
	waiting int                          // how many wait for a position
	wanted  chan struct{}                // one more waits
	last    map[string]eventlog.Position // of the newest event that the reader wants, as the live subscription saw
	whole   map[string]eventlog.Position // up to where a reader must be for what it keeps to be whole
	live    eventlog.Position            // the live subscription has seen all up to here
	up      bool                         // the live subscription is there
	begins  chan struct{}                // closed when the live subscription begins, at a head of its own
	changed chan struct{}
}

// NewProgress knows of no reader yet.
func NewProgress() *Progress {
	return &Progress{at: map[string]eventlog.Position{}, last: map[string]eventlog.Position{},
		whole: map[string]eventlog.Position{}, mine: map[string]bool{},
		wanted: make(chan struct{}, 1), begins: make(chan struct{}), changed: make(chan struct{})}
}

// Watch says which readers there are, before any of them runs.
func (p *Progress) Watch(readers []Reader) { p.readers = readers }

// began notes that this process feeds a reader, and where that goes on, which may be before where it was.
func (p *Progress) began(reader string, at eventlog.Position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mine[reader] = true
	p.came(reader, at)
}

// left notes that this process does not feed a reader any more.
func (p *Progress) left(reader string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mine[reader] = false
}

// stored notes how far another process has fed a reader. Of one that this process feeds it knows better.
func (p *Progress) stored(reader string, at eventlog.Position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.mine[reader] && p.at[reader] != at {
		p.came(reader, at)
	}
}

// came notes where a reader is. One that goes back has lost what it kept, which is whole when it is there again.
func (p *Progress) came(reader string, at eventlog.Position) {
	p.at[reader] = at
	if to, known := p.whole[reader]; known {
		p.whole[reader] = max(to, at)
	}
	p.signal()
}

// others are the readers that this process does not feed; urgent says that somebody waits.
func (p *Progress) others() (readers []Reader, urgent bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.readers {
		if !p.mine[r.Name] {
			readers = append(readers, r)
		}
	}
	return readers, p.waiting > 0
}

// wait counts who waits, by one more or one less.
func (p *Progress) wait(by int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting += by; by > 0 {
		select {
		case p.wanted <- struct{}{}:
		default: // it is said already
		}
	}
}

func (p *Progress) applied(reader string, at eventlog.Position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if at > p.at[reader] {
		p.came(reader, at)
	}
}

func (p *Progress) signal() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// Seen notes that the live subscription has passed a position, with the event there, if it was one.
func (p *Progress) Seen(at eventlog.Position, rec *eventlog.Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if rec != nil {
		for _, r := range p.readers {
			if r.wants(*rec) {
				p.last[r.Name] = at
			}
		}
	}
	p.live = max(p.live, at)
	p.signal()
}

func (r Reader) wants(rec eventlog.Record) bool {
	name := rec.Stream.String()
	if !slices.ContainsFunc(r.Prefixes, func(p string) bool { return strings.HasPrefix(name, p) }) {
		return false
	}
	return len(r.wanted([]eventlog.Record{rec})) > 0
}

// Up notes that the live subscription has begun, and sees all after a position from now on. What was before it, readers
// must have passed by themselves: a subscription of theirs that was made before then tells of no such position where
// nothing comes for them, and is made again.
func (p *Progress) Up(from eventlog.Position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.begins)
	p.begins = make(chan struct{})
	for _, r := range p.readers {
		p.last[r.Name] = from
		p.whole[r.Name] = max(from, p.at[r.Name])
	}
	p.live, p.up = from, true
	p.signal()
}

// Begins is closed when the live subscription begins the next time.
func (p *Progress) Begins() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.begins
}

// Back notes that the live subscription, which was down, has seen all that happened meanwhile: it goes on where it was.
func (p *Progress) Back() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.up = true
	p.signal()
}

// Down notes that the live subscription is away: nothing is known beyond what was applied.
func (p *Progress) Down() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.up = false
}

// Watched says whether the live subscription sees what happens.
func (p *Progress) Watched() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.up
}

// Live is up to where the live subscription has seen what happens; 0: it has not begun.
func (p *Progress) Live() eventlog.Position {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.live
}

// At is how far a reader has come.
func (p *Progress) At(reader string) eventlog.Position {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.at[reader]
}

// reached: it applied that position, or there was nothing for it up to there that it has not applied.
func (p *Progress) reached(reader string, want eventlog.Position) bool {
	at := p.at[reader]
	return at >= want || p.up && p.live >= want && at >= p.last[reader]
}

// Reached says whether a reader has reached a position.
func (p *Progress) Reached(reader string, want eventlog.Position) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reached(reader, want)
}

// Whole says whether a reader has all that was in the log when this process began to watch it, and all that the reader
// had since: false while a new version is being built, or what was lost is made anew.
func (p *Progress) Whole(reader string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	to, known := p.whole[reader]
	return known && p.reached(reader, to)
}

// quiet is up to where the log holds nothing for a reader that it has not applied; 0: that is not known.
func (p *Progress) quiet(reader string) eventlog.Position {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.up && p.at[reader] >= p.last[reader] {
		return p.live
	}
	return 0
}

// Wait waits until a reader has reached a position; false: the context ended first.
func (p *Progress) Wait(ctx context.Context, reader string, want eventlog.Position) bool {
	if p.Reached(reader, want) {
		return true
	}
	p.wait(1)
	defer p.wait(-1)
	for {
		p.mu.Lock()
		reached, changed := p.reached(reader, want), p.changed
		p.mu.Unlock()
		if reached {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}
