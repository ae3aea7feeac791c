package commands

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"prelude/internal/eventlog"
)

// state is what processes left behind.
type state struct {
	Log  []string // every event, but for those that stand below
	Keys []string // every key of the vault, and whether it is destroyed
	Ends []string // the events that end replies, apart from the log: of one that was cut off the text is lost
	// Issued counts the keys to the API that the last process issued: one whose secret was lost is followed by another.
	Issued int
}

// theCommand is the same in each run, and so are the ids that follow from it.
func theCommand() Meta {
	m := repeatable(olga, "body")
	m.Command = uuid.MustParse("00000000-0000-4000-8000-0000000000aa")
	return m
}

func undisturbed(t *testing.T, c killable) (s state, writes int) {
	t.Helper()
	r := newRig(t)
	r.at(noon)
	was := c.setup(r)
	e, m := r.mortal(1<<20, false)
	s = r.last(e, c, was)
	if m.made.Load() == 0 {
		t.Fatal("it writes nothing")
	}
	return s, int(m.made.Load())
}

// kill is where a process is killed: before its nth write, from 0, or after it was made.
type kill struct {
	at    int
	after bool
}

// killed gives what the last process leaves, after others that were killed one after the other. What is left to do may
// end before the later ones are.
func killed(t *testing.T, c killable, kills ...kill) state {
	t.Helper()
	r := newRig(t)
	r.at(noon)
	was := c.setup(r)
	next := r
	for i, k := range kills {
		e, m := next.mortal(k.at, k.after)
		// What comes last may be done by the program itself, or be left to it: then the command may succeed.
		if err := c.run(e, was, theCommand()); err != nil && !errors.Is(err, eventlog.ErrUnavailable) {
			t.Fatalf("killed, it says %v", err)
		}
		if i == 0 && m.alive() == nil {
			t.Fatalf("there is no write %d", k.at)
		}
		next = next.again()
	}
	return r.last(next, c, was)
}

// last gives the command to a process that lives.
func (r *rig) last(process *rig, c killable, was any) state {
	r.t.Helper()
	before := r.state()
	if err := c.run(process, was, theCommand()); err != nil {
		r.t.Fatalf("who lives says %v", err)
	}
	s := r.state()
	s.Issued -= before.Issued
	return s
}

var (
	// ids are the typed ids in a text.
	ids = regexp.MustCompile(`(org|usr|key|prs|ses|msg|rpl)_[0-9a-z]{26}`)
	// boots are those of producers: who repeats a command was started later.
	boots = regexp.MustCompile(`"boot":\d+`)
	// endings are the kinds of events that end a reply.
	endings = regexp.MustCompile(`^(session\.reply_(completed|failed|cancelled)|completion\.ended)$`)
)

// state gathers it, with ids numbered as they come: those of the setup differ from run to run.
func (r *rig) state() (s state) {
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
			s.Issued++
			continue
		}
		data, err := json.Marshal(e.Data)
		if err != nil {
			r.t.Fatal(err)
		}
		line := fmt.Sprintf("%s %d %s %v %s", e.Object, e.Revision, e.Kind, e.Fields, data)
		line = ids.ReplaceAllStringFunc(line, func(id string) string {
			if number[id] == "" {
				number[id] = fmt.Sprint(id[:4], len(number))
			}
			return number[id]
		})
		if endings.MatchString(e.Kind) {
			s.Ends = append(s.Ends, line)
			continue
		}
		s.Log = append(s.Log, boots.ReplaceAllString(line, `"boot":…`))
	}
	s.Keys = r.keyState(number)
	return s
}

// keyState tells of every key, with the same numbers in the places of ids.
func (r *rig) keyState(number map[string]string) (all []string) {
	bare := map[string]string{}
	for id, n := range number {
		bare[id[4:]] = n
	}
	for id, there := range r.keys.All() {
		parts := strings.Split(string(id), ".")
		for i, p := range parts {
			if n, ok := bare[p]; ok {
				parts[i] = n
			}
		}
		line := strings.Join(parts, ".")
		if !there {
			line += " destroyed"
		}
		all = append(all, line)
	}
	return slices.Sorted(slices.Values(all))
}
