package commands

import (
	"context"
	"crypto/sha256"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"prelude/domain"
	"prelude/domain/preset"
	"prelude/internal/eventlog"
)

// killable is a command of the application, with what must be there before it.
type killable struct {
	of    string // the method that handles it
	setup func(r *rig) any
	run   func(r *rig, was any, m Meta) error
}

func mac(purpose string, text []byte) []byte {
	sum := sha256.Sum256(append([]byte(purpose), text...))
	return sum[:]
}

// issued is a key, and whose it is.
type issued struct {
	by domain.Principal
	id domain.APIKeyID
}

// killables are the commands that change something, but for those that make replies and for [APIKeys.Issue].
func killables() map[string]killable {
	aPreset := func(r *rig) any { return r.create(olga, "tone") }
	published := func(r *rig) any {
		id := r.create(olga, "tone")
		if _, err := r.presets().Publish(r.t.Context(), PublishPreset{Preset: id}, by(olga)); err != nil {
			r.t.Fatal(err)
		}
		return id
	}
	deleted := func(r *rig) any {
		id := aPreset(r)
		if _, err := r.presets().Delete(r.t.Context(), id.(domain.PresetID), by(olga)); err != nil {
			r.t.Fatal(err)
		}
		return id
	}
	aSession := func(r *rig) any { return r.session(olga) }
	talked := func(r *rig) any {
		id := r.session(olga)
		r.posted(id, by(olga))
		return id
	}
	edit := func(change func(string, preset.Draft) (string, preset.Draft, error)) func(*rig, any, Meta) error {
		return func(r *rig, id any, m Meta) error {
			_, err := r.presets().Edit(r.t.Context(), EditPreset{Preset: id.(domain.PresetID), Change: change}, m)
			return err
		}
	}
	onSession := func(do func(Sessions, context.Context, domain.SessionID, Meta) error) func(*rig, any, Meta) error {
		return func(r *rig, id any, m Meta) error { return do(r.sessions(), r.t.Context(), id.(domain.SessionID), m) }
	}
	nothing := func(*rig) any { return nil }
	all := erasures()
	maps.Copy(all, lostReplies())
	maps.Copy(all, foundings())
	maps.Copy(all, map[string]killable{
		"add a user": {"Users.Add", nothing, func(r *rig, _ any, m Meta) error {
			_, err := Users{Engine: r.Engine, MAC: mac}.Add(r.t.Context(), AddUser{"mara", "Mara", domain.Member}, m)
			return err
		}},
		"create a preset": {"Presets.Create", nothing, func(r *rig, _ any, m Meta) error { _, err := r.tryCreate("tone", m); return err }},
		"edit a preset": {"Presets.Edit", aPreset, edit(func(slug string, d preset.Draft) (string, preset.Draft, error) {
			d.Name = "Another"
			return slug, d, nil
		})},
		"move a slug": {"Presets.Edit", aPreset, edit(func(_ string, d preset.Draft) (string, preset.Draft, error) { return "other", d, nil })},
		"publish": {"Presets.Publish", aPreset, func(r *rig, id any, m Meta) error {
			cmd := PublishPreset{Preset: id.(domain.PresetID), Labels: []string{"beta"}}
			_, err := r.presets().Publish(r.t.Context(), cmd, m)
			return err
		}},
		"label": {"Presets.Label", published, func(r *rig, id any, m Meta) error {
			cmd := LabelPreset{Preset: id.(domain.PresetID), Label: "beta", Version: 1}
			_, err := r.presets().Label(r.t.Context(), cmd, m)
			return err
		}},
		"delete a preset": {"Presets.Delete", aPreset, func(r *rig, id any, m Meta) error {
			_, err := r.presets().Delete(r.t.Context(), id.(domain.PresetID), m)
			return err
		}},
		"restore a preset": {"Presets.Restore", deleted, func(r *rig, id any, m Meta) error {
			_, err := r.presets().Restore(r.t.Context(), id.(domain.PresetID), m)
			return err
		}},
		"start a session": {"Sessions.Start", nothing, func(r *rig, _ any, m Meta) error {
			_, err := r.sessions().Start(r.t.Context(), StartSession{Model: "demo"}, m)
			return err
		}},
		"apply a preset": {"Sessions.Apply", func(r *rig) any { published(r); return r.session(olga) },
			onSession(func(h Sessions, ctx context.Context, id domain.SessionID, m Meta) error {
				name, _ := ParseName("tone")
				_, err := h.Apply(ctx, id, StartSession{Preset: &PresetArg{Name: name}}, m)
				return err
			})},
		"rename a session": {"Sessions.Rename", aSession, onSession(func(h Sessions, ctx context.Context, id domain.SessionID, m Meta) error {
			_, err := h.Rename(ctx, id, "Plans", m)
			return err
		})},
		"delete a session": {"Sessions.Delete", aSession, onSession(func(h Sessions, ctx context.Context, id domain.SessionID, m Meta) error {
			_, err := h.Delete(ctx, id, m)
			return err
		})},
		"restore a session": {"Sessions.Restore", func(r *rig) any {
			id := r.session(olga)
			if _, err := r.sessions().Delete(r.t.Context(), id, by(olga)); err != nil {
				r.t.Fatal(err)
			}
			return id
		}, onSession(func(h Sessions, ctx context.Context, id domain.SessionID, m Meta) error {
			_, err := h.Restore(ctx, id, m)
			return err
		})},
		"revoke a key": {"APIKeys.Revoke", func(r *rig) any {
			f, err := Orgs{Engine: r.Engine, MAC: mac}.Create(r.t.Context(), "acme", "Acme")
			if err != nil {
				r.t.Fatal(err)
			}
			m := by(f.Owner)
			m.By.Org = f.Org
			left, _, err := APIKeys{r.Engine}.Issue(r.t.Context(), IssueKey{Name: "ci"}, m)
			if err != nil {
				r.t.Fatal(err)
			}
			return issued{m.By, left.State.ID}
		}, func(r *rig, was any, m Meta) error {
			k := was.(issued)
			m.By = k.by
			_, err := APIKeys{r.Engine}.Revoke(r.t.Context(), k.id, m)
			return err
		}},
		"branch a session": {"Sessions.Branch", talked, onSession(func(h Sessions, ctx context.Context, id domain.SessionID, m Meta) error {
			_, err := h.Branch(ctx, BranchSession{Session: id}, m)
			return err
		})},
	})
	return all
}

// A command is given, and the process killed at each of its writes, to the log and to the vault, before it and after
// it. The same command given to the next process leaves what it would have left undisturbed: the same events, the same
// keys, and the same keys destroyed. In the long form that process is killed too, at each of its writes.
func TestCommands_killed_at_each_step_end_in_the_same_state(t *testing.T) {
	t.Parallel()
	for name, c := range killables() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want, writes := undisturbed(t, c)
			runs, times := 0, 0
			try := func(kills ...kill) {
				runs, times = runs+1, times+len(kills)
				if diff := cmp.Diff(want, killed(t, c, kills...)); diff != "" {
					t.Errorf("killed at %v (-undisturbed +repeated):\n%s", kills, diff)
				}
			}
			for _, first := range eachStep(writes) {
				try(first)
				if os.Getenv("PRELUDE_TORTURE") == "" {
					continue
				}
				for _, second := range eachStep(writes) {
					try(first, second)
				}
			}
			t.Logf("%d writes, %d runs, killed %d times; another state: %v", writes, runs, times, t.Failed())
		})
	}
}

// eachStep is before and after each of so many writes.
func eachStep(writes int) (all []kill) {
	for at := range writes {
		all = append(all, kill{at, false}, kill{at, true})
	}
	return all
}

// A log of an earlier program, or of a vault that was lost, becomes ours once, whenever the first attempt is killed.
func TestOwn_killed_is_done_once(t *testing.T) {
	t.Parallel()
	for _, after := range []bool{false, true} {
		r := newRig(t)
		id, err := r.Identify(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		e, _ := r.mortal(0, after)
		if err := e.Own(t.Context(), "b"); !errors.Is(err, eventlog.ErrUnavailable) {
			t.Fatalf("killed, it says %v", err)
		}
		for range 2 {
			if err := r.again().Own(t.Context(), "b"); err != nil {
				t.Fatal(err)
			}
		}
		all, err := r.Log.Identified(t.Context())
		if want := []eventlog.Identified{{Log: id, Installation: "b"}, {Log: id, Installation: "a"}}; err != nil ||
			!slices.Equal(all, want) {
			t.Errorf("the log says %v: %v", all, err)
		}
		if _, err := r.again().Identify(t.Context(), "a"); !errors.Is(err, ErrOtherInstallation) || !strings.Contains(err.Error(), id) {
			t.Errorf("whose it was is told %v", err)
		}
	}
}

func TestIdentify_killed_gives_the_log_one_id(t *testing.T) {
	t.Parallel()
	kills := 0
	for _, after := range []bool{false, true} {
		r := newRig(t)
		e, _ := r.mortal(0, after)
		kills++
		if _, err := e.Identify(t.Context(), "a"); !errors.Is(err, eventlog.ErrUnavailable) {
			t.Fatalf("killed, it says %v", err)
		}
		left, err := r.Log.Identity(t.Context())
		if err != nil || (left != "") != after {
			t.Errorf("killed, made: %v, the log's id is %q: %v", after, left, err)
		}
		id, err := r.again().Identify(t.Context(), "a")
		if err != nil || id == "" || after && id != left {
			t.Errorf("it is %q, and before %q: %v", id, left, err)
		}
		if all, err := r.Log.Identities(t.Context()); err != nil || len(all) != 1 || all[0] != id {
			t.Errorf("the log has the ids %q: %v", all, err)
		}
	}
	t.Logf("1 write, killed %d times; another id: %v", kills, t.Failed())
}
