package eventstore_test

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"prelude/internal/eventlog"
	"prelude/internal/eventstore/storetest"
)

// ends has all stop, and holds what they were told against the log.
func (w *workload) ends(what string, seed uint64) {
	w.t.Helper()
	took := time.Since(w.began)
	w.leaves() // what the end takes is not the store's
	close(w.stop)
	w.waitFor(&w.writes)
	for _, base := range []string{"s-own-end", "s-shared-end"} { // behind all that was written
		if _, err := w.direct.Append(within(w.t, 30*time.Second), base, eventlog.None,
			[]eventlog.Proposed{event("last.v1", "{}")}); err != nil {
			w.t.Error(err)
		}
	}
	w.waitFor(&w.work)
	w.cancel()
	w.judge(what, took, seed)
}

// waitFor waits for some to end, for longer than any of their calls may take.
func (w *workload) waitFor(some *sync.WaitGroup) {
	w.t.Helper()
	done := make(chan struct{})
	go func() { some.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(45 * time.Second):
		w.t.Error("some have not ended after 45 s")
		w.mu.Lock()
		defer w.mu.Unlock()
		w.hung++
	}
}

// judge holds what the writers and the subscriptions were told against the log, and prints it.
func (w *workload) judge(what string, took time.Duration, seed uint64) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	stored := (&rig{t: w.t, direct: w.direct}).stored("s-")
	var ids []uuid.UUID
	wrong := 0
	for _, e := range stored {
		ids = append(ids, e.ID)
		a, known := w.acknowledged[e.ID]
		if known && (a.Stream != e.Stream || a.Revision != e.Revision) || w.refused[e.ID] ||
			!known && !w.unknown[e.ID] && e.Type != "last.v1" {
			wrong++
		}
	}
	lost, twice := storetest.Compare(w.order, ids)
	var seen []string
	for _, all := range w.seen {
		missed, again := w.missed(all, stored)
		seen = append(seen, fmt.Sprint(all.prefix, "* ", len(all.ids)))
		lost, twice = lost+missed, twice+again
	}
	w.t.Logf("%s in %s: %d appends of %d events acknowledged, %d given up, %d refused; %d stored; seen %s; %d reads; "+
		"lost %d, twice %d, hung %d, otherwise wrong %d; longest without an acknowledged append %s, a read %s, an event "+
		"of a subscription %s; latest call %s after its context; seed %d",
		what, took.Round(time.Millisecond), w.appends, len(w.order), len(w.unknown), len(w.refused), len(stored),
		strings.Join(seen, ", "), w.reads, lost, twice, w.hung, wrong, w.longest["writer"].Round(time.Millisecond),
		w.longest["reader"].Round(time.Millisecond), w.longest["subscription"].Round(time.Millisecond),
		max(w.latest, 0).Round(time.Millisecond), seed)
	if lost+twice+w.hung+wrong > 0 {
		w.t.Error("not every event is stored once and seen once, or something hung")
	}
	for kind, d := range w.longest {
		if d > tortureBound {
			w.t.Errorf("a %s waited for %s", kind, d)
		}
	}
}

// missed counts the events that a subscription should have been given and was not, and those that it was given twice.
func (w *workload) missed(all *seenAll, stored []eventlog.Raw) (missed, again int) {
	var due []uuid.UUID
	for _, e := range stored {
		if strings.HasPrefix(e.Stream, all.prefix) {
			due = append(due, e.ID)
		}
	}
	missed, again = storetest.Compare(due, all.ids)
	if extra := len(all.ids) - len(due); missed == 0 && extra > 0 {
		again = max(again, extra)
	}
	return missed, again
}
