package esnode

import (
	"math/rand/v2"
	"sync"
	"time"
)

// Moods are what a real store does only at times, so that what is tested on a node of ours has met it.
// The zero value has none.
type Moods struct {
	Seed uint64 // of what comes by chance

	// Lag is how long after a commit it can be read at most; about half of all commits have some. A
	// refusal that rests on a commit does not wait for it: whoever is refused may look and not find what
	// came before. An acknowledged append can be read at once. Subscriptions may have as much again.
	Lag time.Duration

	// CommitTimeout is how long after a repeat of an append that is not yet acknowledged it is answered
	// that it timed out; 0: it is answered with the append.
	CommitTimeout time.Duration

	// Page is how many events of a stream a read takes at once; it looks at the stream anew for each
	// page, and ends where it was deleted or truncated meanwhile. 0: the read shows the stream as it was.
	Page int

	// Cut is how long after a node begins to close it cuts the connections of calls, about half of which
	// it does not end before. Appends that are under way are canceled, and may happen all the same. 0: a
	// node ends all calls by itself.
	Cut time.Duration

	mu     sync.Mutex
	chance *rand.Rand
}

// RealMoods are those of an EventStoreDB 24.6, but for its last 5 s, which are shorter.
func RealMoods(seed uint64) *Moods {
	return &Moods{
		Seed: seed, Lag: 20 * time.Millisecond, CommitTimeout: 2500 * time.Millisecond, Page: 128,
		Cut: 500 * time.Millisecond,
	}
}

// lag is 0 or, in about half of all cases, some time up to the longest.
func (m *Moods) lag() time.Duration {
	if m == nil || m.Lag <= 0 || !m.toss() {
		return 0
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Duration(m.chance.Int64N(int64(m.Lag))) + 1
}

// cuts says of a call whether it is not ended by the node when that closes.
func (m *Moods) cuts() bool { return m != nil && m.Cut > 0 && m.toss() }

func (m *Moods) toss() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.chance == nil {
		m.chance = rand.New(rand.NewPCG(m.Seed, 0)) //nolint:gosec // it decides nothing that has to be secret
	}
	return m.chance.IntN(2) == 0
}

// page is how many events of a stream a read takes at once, 0 where it takes what it likes.
func (m *Moods) page() int {
	if m == nil {
		return 0
	}
	return m.Page
}

// patience is how long calls under way may take to end when a node closes.
func (m *Moods) patience() time.Duration {
	if m == nil || m.Cut <= 0 {
		return stopGrace
	}
	return m.Cut
}
