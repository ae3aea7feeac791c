package storetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Faults are how often each kind of trouble was made.
type Faults map[string]int

// String lists the kinds: "103 faults: 20 cuts, …".
func (f Faults) String() string {
	all := 0
	var kinds []string
	for kind, n := range f {
		all += n
		kinds = append(kinds, fmt.Sprintf("%d %s", n, kind))
	}
	slices.Sort(kinds)
	return fmt.Sprintf("%d faults: %s", all, strings.Join(kinds, ", "))
}

// trouble is what misbehaves.
type trouble struct {
	*Proxy
	rng     *rand.Rand
	restart func() error // of the node; nil: never
	stop    <-chan struct{}
}

// Trouble misbehaves until it is told to stop, and says how often and how. restart kills the node and
// starts it again; nil: the node is left alone.
func Trouble(p *Proxy, rng *rand.Rand, restart func() error, stop <-chan struct{}) Faults {
	defer func() { p.Delay(0); p.CutUpload(-1); p.CutDownload(-1) }()
	made, t := Faults{}, trouble{p, rng, restart, stop}
	deck := t.deck()
	for {
		// A shuffled deck has every kind come, in a short run too.
		rng.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
		for _, one := range deck {
			one.make()
			made[one.kind]++
			if !t.wait(20, 170) || !t.works() {
				return made
			}
		}
	}
}

type fault struct {
	kind string
	make func()
}

func (t trouble) deck() []fault {
	cut := fault{"cuts", t.Cut}
	upload := fault{"requests cut", func() { t.CutUpload(int64(t.rng.IntN(20_000))) }}
	download := fault{"answers cut", func() { t.CutDownload(int64(t.rng.IntN(20_000))) }}
	delay := fault{"delays", func() { t.Delay(time.Duration(t.rng.IntN(5)) * time.Millisecond) }}
	away := fault{"times away", func() { t.Down(); t.wait(0, 100); t.Up() }}
	lose := fault{"connections forgotten", t.Lose}
	answers := fault{"answers silent", func() { t.silent(Answers) }}
	both := fault{"all silent", func() { t.silent(Both) }}
	deck := []fault{cut, cut, upload, upload, download, download, download, download, delay, delay, away, away,
		lose, answers, both}
	if t.restart != nil {
		deck = append(deck, fault{"kills", func() {
			if err := t.restart(); err != nil {
				t.t.Errorf("the node is not back: %v", err)
			}
		}})
	}
	return deck
}

// silent is silent for a moment; in the long form, now and then, for longer than the guard believes in
// the connection.
func (t trouble) silent(s Silence) {
	t.Hold(s)
	defer t.Release()
	if Long() && t.rng.IntN(30) == 0 {
		t.wait(4000, 8000)
		return
	}
	t.wait(0, 300)
}

// works waits until something has come over the way again, for a moment at most: on a machine with much to do
// faults would else fall on what the one before has broken. False says that it is time to stop.
func (t trouble) works() bool {
	const enough, tick = 2 << 10, 5
	before := t.told.Load()
	for range 100 {
		if t.told.Load() >= before+enough {
			return true
		}
		if !t.wait(tick, tick+1) {
			return false
		}
	}
	return true
}

// wait waits for some milliseconds; false says that it is time to stop.
func (t trouble) wait(least, most int) bool {
	select {
	case <-t.stop:
		return false
	case <-time.After(time.Duration(least+t.rng.IntN(most-least)) * time.Millisecond):
		return true
	}
}
