package commands

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"prelude/domain"
	"prelude/domain/preset"
	"prelude/domain/receipt"
	"prelude/domain/session"
	"prelude/internal/eventlog"
)

// killable is a command of the application, with what must be there before it.
type killable struct {
	setup func(r *rig) any
	run   func(r *rig, was any, m Meta) error
}

func mac(purpose string, text []byte) []byte { return append([]byte(purpose), text...) }

// issued is a key, and whose it is.
type issued struct {
	by domain.Principal
	id domain.APIKeyID
}

// killables are all commands that change something.
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
	maps.Copy(all, map[string]killable{
		"found an org": {nothing, func(r *rig, _ any, _ Meta) error {
			_, err := Orgs{Engine: r.Engine, MAC: mac}.Create(r.t.Context(), "acme", "Acme")
			return err
		}},
		"add a user": {nothing, func(r *rig, _ any, m Meta) error {
			_, err := Users{Engine: r.Engine, MAC: mac}.Add(r.t.Context(), AddUser{"mara", "Mara", domain.Member}, m)
			return err
		}},
		"create a preset": {nothing, func(r *rig, _ any, m Meta) error { _, err := r.tryCreate("tone", m); return err }},
		"edit a preset": {aPreset, edit(func(slug string, d preset.Draft) (string, preset.Draft, error) {
			d.Name = "Another"
			return slug, d, nil
		})},
		"move a slug": {aPreset, edit(func(_ string, d preset.Draft) (string, preset.Draft, error) { return "other", d, nil })},
		"publish": {aPreset, func(r *rig, id any, m Meta) error {
			cmd := PublishPreset{Preset: id.(domain.PresetID), Labels: []string{"beta"}}
			_, err := r.presets().Publish(r.t.Context(), cmd, m)
			return err
		}},
		"label": {published, func(r *rig, id any, m Meta) error {
			cmd := LabelPreset{Preset: id.(domain.PresetID), Label: "beta", Version: 1}
			_, err := r.presets().Label(r.t.Context(), cmd, m)
			return err
		}},
		"delete a preset": {aPreset, func(r *rig, id any, m Meta) error {
			_, err := r.presets().Delete(r.t.Context(), id.(domain.PresetID), m)
			return err
		}},
		"restore a preset": {deleted, func(r *rig, id any, m Meta) error {
			_, err := r.presets().Restore(r.t.Context(), id.(domain.PresetID), m)
			return err
		}},
		"start a session": {nothing, func(r *rig, _ any, m Meta) error {
			_, err := r.sessions().Start(r.t.Context(), StartSession{Model: "demo"}, m)
			return err
		}},
		"apply a preset": {func(r *rig) any { published(r); return r.session(olga) },
			onSession(func(h Sessions, ctx context.Context, id domain.SessionID, m Meta) error {
				name, _ := ParseName("tone")
				_, err := h.Apply(ctx, id, StartSession{Preset: &PresetArg{Name: name}}, m)
				return err
			})},
		"rename a session": {aSession, onSession(func(h Sessions, ctx context.Context, id domain.SessionID, m Meta) error {
			_, err := h.Rename(ctx, id, "Plans", m)
			return err
		})},
		"delete a session": {aSession, onSession(func(h Sessions, ctx context.Context, id domain.SessionID, m Meta) error {
			_, err := h.Delete(ctx, id, m)
			return err
		})},
		"restore a session": {func(r *rig) any {
			id := r.session(olga)
			if _, err := r.sessions().Delete(r.t.Context(), id, by(olga)); err != nil {
				r.t.Fatal(err)
			}
			return id
		}, onSession(func(h Sessions, ctx context.Context, id domain.SessionID, m Meta) error {
			_, err := h.Restore(ctx, id, m)
			return err
		})},
		"revoke a key": {func(r *rig) any {
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
		"branch a session": {talked, onSession(func(h Sessions, ctx context.Context, id domain.SessionID, m Meta) error {
			_, err := h.Branch(ctx, BranchSession{Session: id}, m)
			return err
		})},
	})
	return all
}

// A command is given, and the process killed at each of its writes, to the log and to the vault, before it and after
// it. The same command given to the next process leaves what it would have left undisturbed.
func TestCommands_killed_at_each_step_end_in_the_same_state(t *testing.T) {
	t.Parallel()
	for name, c := range killables() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want, steps := undisturbed(t, c)
			kills := 0
			for at := range steps {
				for _, after := range []bool{false, true} {
					kills++
					got := killed(t, c, at, after)
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("killed at write %d, made: %v (-undisturbed +repeated):\n%s", at, after, diff)
					}
				}
			}
			t.Logf("%d writes, killed %d times: the same state each time", steps, kills)
		})
	}
}

// command is the same in each run, and so are the ids that follow from it.
func theCommand() Meta {
	m := repeatable(olga, "body")
	m.Command = uuid.MustParse("00000000-0000-4000-8000-0000000000aa")
	return m
}

func undisturbed(t *testing.T, c killable) (state []string, steps int) {
	t.Helper()
	r := newRig(t)
	r.at(noon)
	was := c.setup(r)
	m := newMortal(r.Log.Store, 1<<20, false)
	e := r.over(&eventlog.Log{Store: m, Keys: mortalKeys{r.keys, m}})
	if err := c.run(e, was, theCommand()); err != nil {
		t.Fatal(err)
	}
	if m.made.Load() == 0 {
		t.Fatal("it appends nothing")
	}
	return r.all(), int(m.made.Load())
}

func killed(t *testing.T, c killable, at int, after bool) []string {
	t.Helper()
	r := newRig(t)
	r.at(noon)
	was := c.setup(r)
	m := newMortal(r.Log.Store, at, after)
	e := r.over(&eventlog.Log{Store: m, Keys: mortalKeys{r.keys, m}})
	// What comes last may be done by the program itself, or be left to it: then the command may succeed.
	if err := c.run(e, was, theCommand()); err != nil && !errors.Is(err, eventlog.ErrUnavailable) {
		t.Fatalf("killed, it says %v", err)
	}
	if err := c.run(r.other(), was, theCommand()); err != nil {
		t.Fatalf("repeated, it says %v", err)
	}
	return r.all()
}

// ids are the typed ids in a text.
var ids = regexp.MustCompile(`(org|usr|key|prs|ses|msg|rpl)_[0-9a-z]{26}`)

// all is every event of the log, with ids numbered as they come: those of the setup differ from run to run. The
// issue of keys is left out: one whose secret was lost with the process is followed by another.
func (r *rig) all() (all []string) {
	r.t.Helper()
	number := map[string]string{}
	for raw, err := range r.Log.Store.ReadAll(r.t.Context(), 0, eventlog.Forwards, 0) {
		if err != nil {
			r.t.Fatal(err)
		}
		if raw.Type[0] == '$' {
			continue
		}
		rec, err := eventlog.Decode(raw)
		if err != nil {
			r.t.Fatal(err)
		}
		e := rec.Entry()
		if e.Kind == "apikey.issued" {
			continue
		}
		data, err := json.Marshal(e.Data)
		if err != nil {
			r.t.Fatal(err)
		}
		line := fmt.Sprintf("%s %d %s %v %s", e.Object, e.Revision, e.Kind, e.Fields, data)
		all = append(all, ids.ReplaceAllStringFunc(line, func(id string) string {
			if number[id] == "" {
				number[id] = fmt.Sprint(id[:4], len(number))
			}
			return number[id]
		}))
	}
	return all
}

// The secret of a key is shown once: a process that was killed took it along, and the repeat says so.
func TestIssue_killed_before_the_secret_was_shown(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	f, err := Orgs{Engine: r.Engine, MAC: mac}.Create(t.Context(), "acme", "Acme")
	if err != nil {
		t.Fatal(err)
	}
	for _, after := range []bool{false, true} {
		m := repeatable(f.Owner, "body")
		m.By.Org = f.Org
		e := r.over(&eventlog.Log{Store: newMortal(r.Log.Store, 0, after), Keys: r.keys})
		_, _, err := APIKeys{e.Engine}.Issue(t.Context(), IssueKey{Name: "ci"}, m)
		if !errors.Is(err, eventlog.ErrUnavailable) {
			t.Fatalf("killed, it says %v", err)
		}
		left, secret, err := APIKeys{r.other().Engine}.Issue(t.Context(), IssueKey{Name: "ci"}, m)
		if after {
			refused(t, err, "secret_shown_once")
		} else if err != nil || secret == "" || left.Revision != 0 {
			t.Errorf("it left %+v: %v", left, err)
		}
	}
}

// A turn appends twice. Killed at either, before or after, it is there once, and its reply has one end: that which
// was made, or lost.
func TestPost_killed_at_each_step(t *testing.T) {
	t.Parallel()
	for at, want := range []map[bool]string{
		{false: "completed", true: "lost"}, // the post: not made, the repeat makes it anew
		{false: "lost", true: "completed"}, // the end
	} {
		for after, want := range want {
			t.Run(fmt.Sprintf("append %d, made: %v", at, after), func(t *testing.T) {
				t.Parallel()
				r := newRig(t)
				id := r.session(olga)
				store := newMortal(r.Log.Store, at, after)
				e := r.over(&eventlog.Log{Store: store, Keys: r.keys})
				m := repeatable(olga, "body")
				cmd := PostMessage{Session: id, Content: "Hi"}
				p, err := e.sessions().Post(t.Context(), cmd, m)
				if (err != nil) != (at == 0) {
					t.Fatalf("killed, it says %v", err)
				}
				<-store.dead
				next := r.over(r.Log) // the same instance, started anew
				h := next.sessions()
				h.Producer.Boot = 2
				if p.Reply == "" || at == 0 {
					p.Reply = domain.ReplyID(m.derive(domain.ReplyPrefix, 0))
				}
				again, err := h.Post(t.Context(), cmd, m)
				if err != nil || again.Reply != p.Reply || again.Replayed != (at > 0 || after) {
					t.Fatalf("repeated, it left %+v: %v", again, err)
				}
				if again.Replayed {
					if _, err := h.Recover(t.Context(), acme, id, p.Reply); err != nil {
						t.Fatal(err)
					}
				} else if _, err := next.hub.Await(t.Context(), p.Reply).Wait(t.Context()); err != nil {
					t.Fatal(err)
				}
				posts := 0
				for _, rec := range r.records(eventlog.SessionStream(acme, id)) {
					if _, ok := rec.Event.(session.MessagePosted); ok {
						posts++
					}
				}
				ends := r.ends(id)
				if posts != 1 || len(ends) != 1 || endOf(ends[0]) != want {
					t.Errorf("%d posts, and the ends %+v; want one %s", posts, ends, want)
				}
			})
		}
	}
}

func endOf(e any) string {
	if f, ok := e.(session.ReplyFailed); ok {
		return f.Code
	}
	return strings.ToLower(strings.TrimPrefix(reflect.TypeOf(e).Name(), "Reply"))
}

// A completion too.
func TestComplete_killed_at_each_step(t *testing.T) {
	t.Parallel()
	for at := range 2 {
		for _, after := range []bool{false, true} {
			r := newRig(t)
			store := newMortal(r.Log.Store, at, after)
			e := r.over(&eventlog.Log{Store: store, Keys: r.keys})
			m := repeatable(olga, "body")
			cmd := Complete{Asked: "demo", Messages: []receipt.Message{{Role: "user", Content: "Hi"}}}
			_, err := e.sessions().Complete(t.Context(), cmd, m)
			if (err != nil) != (at == 0) {
				t.Fatalf("killed at %d, it says %v", at, err)
			}
			<-store.dead
			next := r.over(r.Log)
			h := next.sessions()
			h.Producer.Boot = 2
			again, err := h.Complete(t.Context(), cmd, m)
			if err != nil || again.Replayed != (at > 0 || after) {
				t.Fatalf("repeated, it left %+v: %v", again, err)
			}
			if again.Replayed {
				_, err = h.Recover(t.Context(), acme, "", again.Reply)
			} else {
				_, err = next.hub.Await(t.Context(), again.Reply).Wait(t.Context())
			}
			if records := r.records(eventlog.CompletionStream(acme, again.Reply)); err != nil || len(records) != 2 {
				t.Errorf("killed at %d, made %v: %d events, %v", at, after, len(records), err)
			}
		}
	}
}
