package projections

import (
	"fmt"
	"testing"

	"prelude/domain"
	"prelude/domain/preset"
	"prelude/internal/eventlog"
)

// write writes a history of some steps in two orgs.
func write(t testing.TB, log *eventlog.Log, seed uint64, steps int) *author {
	t.Helper()
	a := newAuthor(t, log, seed)
	orgs := []domain.OrgID{acme, id[domain.OrgID](domain.OrgPrefix, 2)}
	owners := []domain.UserID{a.found(orgs[0]), a.found(orgs[1])}
	for i := range orgs {
		a.newPreset(orgs[i], owners[i])
		a.newSession(orgs[i], owners[i])
	}
	for range steps {
		i := a.rng.IntN(2)
		a.step(orgs[i], owners[i])
	}
	return a
}

// step does one thing.
func (a *author) step(o domain.OrgID, by domain.UserID) {
	a.t.Helper()
	s := a.sessions[a.rng.IntN(len(a.sessions))]
	switch a.rng.IntN(10) {
	case 0:
		a.newPreset(o, by)
	case 1:
		a.newSession(o, by)
	case 2:
		a.complete(o, by)
	case 3, 4:
		a.post(s)
	case 5, 6:
		a.end(s, a.rng.IntN(3))
	default:
		a.change(a.presets[a.rng.IntN(len(a.presets))])
	}
}

// change does something to a preset, if it may be done.
func (a *author) change(th *thing[preset.Preset, preset.Event]) {
	a.t.Helper()
	p, by := th.state, th.state.Owner
	var events []preset.Event
	var err error
	switch a.rng.IntN(7) {
	case 0:
		events, err = p.Edit(p.Slug, draft(a.next()), window, by, a.now())
	case 1:
		events, err = p.Edit(fmt.Sprint("slug-", a.next()), p.Draft, window, by, a.now())
	case 2, 3:
		events, err = p.Publish("A note.", []string{"production"}, "", by, a.now())
	case 4:
		events, err = p.Label("staging", 1+a.rng.IntN(max(1, p.Version())), "Try it.", by, a.now())
	case 5:
		events, err = p.Unlabel("staging", by, a.now())
	case 6:
		if p.DeletedAt == nil && a.rng.IntN(2) == 0 {
			events, err = p.Delete(by, a.now())
		} else {
			events, err = p.Restore(by, a.now())
		}
	}
	decided(a, th, by, events, err)
}
