package commands

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"prelude/domain/preset"
	"prelude/internal/eventlog"
)

// chain lists what a command has left in the log, in order: what happened, as which step, and what each event says in the
// store's own words of what caused it and of the request that it belongs to.
func (r *rig) chain(m Meta, steps ...string) (links []string) {
	r.t.Helper()
	for raw, err := range r.Log.Store.ReadAll(r.t.Context(), 0, eventlog.Forwards, 0) {
		if err != nil {
			r.t.Fatal(err)
		}
		rec, err := eventlog.Decode(raw)
		if err != nil {
			r.t.Fatal(err)
		}
		var words struct {
			Causation   string `json:"$causationId"`
			Correlation string `json:"$correlationId"`
		}
		if err := json.Unmarshal(raw.Meta, &words); err != nil {
			r.t.Fatal(err)
		}
		if words.Causation != m.Command.String() && words.Correlation != m.Correlation {
			continue
		}
		step := "another step"
		for _, s := range steps {
			if rec.Meta.Step == m.Step(s).stepID() {
				step = s
			}
		}
		links = append(links, fmt.Sprintf("%s: %s, caused by it: %v, of its request: %v", rec.Kind(), step,
			words.Causation == m.Command.String(), words.Correlation == m.Correlation))
	}
	return links
}

// link is an event that is where it belongs in its command's chain.
func link(kind, step string) string {
	return fmt.Sprintf("%s: %s, caused by it: true, of its request: true", kind, step)
}

// Whatever a command leaves, in however many streams and appends, leads back to it and to the request that gave it; each
// append is a step of its own.
func TestCommand_is_the_cause_of_all_its_steps(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	given := func(request string) Meta {
		m := by(olga)
		m.Correlation = request
		return m
	}
	expect := func(t *testing.T, m Meta, steps []string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, r.chain(m, steps...)); diff != "" {
			t.Errorf("the chain (-want +got):\n%s", diff)
		}
	}
	created := given("req_create")
	left, err := r.tryCreate("one", created)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("a preset's creation claims its name", func(t *testing.T) {
		expect(t, created, []string{"claim", "create"}, link("claim.claimed", "claim"), link("preset.created", "create"))
	})
	edited := given("req_edit")
	if _, err := r.presets().Edit(t.Context(), EditPreset{Preset: left.State.ID,
		Change: func(_ string, d preset.Draft) (string, preset.Draft, error) {
			d.Instructions = "Be brief."
			return "two", d, nil
		}}, edited); err != nil {
		t.Fatal(err)
	}
	t.Run("an edit claims the new name and lets the old one go", func(t *testing.T) {
		expect(t, edited, []string{"claim", "edit", "release"}, link("claim.claimed", "claim"),
			link("preset.edited", "edit"), link("preset.renamed", "edit"), link("claim.released", "release"))
	})
	id := r.session(olga)
	posted := given("req_post")
	turn, err := r.sessions().Post(t.Context(), PostMessage{Session: id, Content: "Hi"}, posted)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.hub.Await(t.Context(), turn.Reply).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Run("a post leads to its reply's end", func(t *testing.T) {
		expect(t, posted, []string{"post", "end"}, link("session.message_posted", "post"),
			link("session.reply_started", "post"), link("session.context_assembled", "post"),
			link("session.reply_completed", "end"))
	})
	t.Run("a reply that was lost ends for a cause of its own", func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		r.Models = script{says: waiting(release)}
		lost := given("req_lost")
		turn, err := r.sessions().Post(t.Context(), PostMessage{Session: id, Content: "Hi"}, lost)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.again().sessions().CloseLost(t.Context(), acme, id, turn.Reply); err != nil {
			t.Fatal(err)
		}
		expect(t, lost, []string{"post", "end"}, link("session.message_posted", "post"),
			link("session.reply_started", "post"), link("session.context_assembled", "post"))
		records := r.records(eventlog.SessionStream(acme, id))
		end := records[len(records)-1]
		if end.Kind() != "session.reply_failed" || end.Meta.Job != "lost" || end.Meta.User != "" ||
			end.Meta.Command == lost.Command || end.Meta.Correlation != "" {
			t.Errorf("it ends with %s: %+v", end.Kind(), end.Meta)
		}
	})
}
