package eventlog

import (
	"reflect"
	"strings"

	"prelude/domain/apikey"
	"prelude/domain/claim"
	"prelude/domain/completion"
	"prelude/domain/org"
	"prelude/domain/preset"
	"prelude/domain/session"
	"prelude/domain/user"
)

// Identified is the log's own first event: its id, by which positions and checkpoints are told from
// those of another log.
type Identified struct {
	Log string `json:"log"`
	// Installation names the vault that has the log's keys; empty: an earlier program wrote the event.
	Installation string `json:"installation,omitempty"`
}

// names are the stored names of all events: noun, verb, version of the JSON. A name and what is
// stored under it never change; a changed event gets the next version, and the one before an upcast.
//
// A name is read for one release before anything is written under it, so that the release before can
// be gone back to: released.txt has the names of the last release, and one that is not in it is
// marked with unwritten.
var names = []named{
	{name: "log.identified.v1", event: Identified{}},
	{name: "org.founded.v1", event: org.Founded{}},
	{name: "org.policy_set.v1", event: org.PolicySet{}},
	{name: "user.joined.v1", event: user.Joined{}},
	{name: "user.erased.v1", event: user.Erased{}},
	{name: "apikey.issued.v1", event: apikey.Issued{}},
	{name: "apikey.revoked.v1", event: apikey.Revoked{}},
	{name: "claim.claimed.v1", event: claim.Claimed{}},
	{name: "claim.released.v1", event: claim.Released{}},
	{name: "preset.created.v1", event: preset.Created{}},
	{name: "preset.edited.v1", event: preset.Edited{}},
	{name: "preset.renamed.v1", event: preset.Renamed{}},
	{name: "preset.published.v1", event: preset.Published{}},
	{name: "preset.labeled.v1", event: preset.Labeled{}},
	{name: "preset.unlabeled.v1", event: preset.Unlabeled{}},
	{name: "preset.deleted.v1", event: preset.Deleted{}},
	{name: "preset.restored.v1", event: preset.Restored{}},
	{name: "session.started.v1", event: session.Started{}},
	{name: "session.branched.v1", event: session.Branched{}},
	{name: "session.preset_applied.v1", event: session.PresetApplied{}},
	{name: "session.message_posted.v1", event: session.MessagePosted{}},
	{name: "session.reply_started.v1", event: session.ReplyStarted{}},
	{name: "session.context_assembled.v1", event: session.ContextAssembled{}},
	{name: "session.reply_completed.v1", event: session.ReplyCompleted{}},
	{name: "session.reply_failed.v1", event: session.ReplyFailed{}},
	{name: "session.reply_cancelled.v1", event: session.ReplyCancelled{}},
	{name: "session.renamed.v1", event: session.Renamed{}},
	{name: "session.expired.v1", event: session.Expired{}},
	{name: "session.deleted.v1", event: session.Deleted{}},
	{name: "session.restored.v1", event: session.Restored{}},
	{name: "completion.started.v1", event: completion.Started{}},
	{name: "completion.ended.v1", event: completion.Ended{}},
}

// named is an event under its stored name.
type named struct {
	name  string
	event any
	unwritten
}

// unwritten marks a name under which nothing is stored yet.
type unwritten bool

var registered = register(names, upcasts)

// Names lists every name under which an event may be stored, also the older ones that are brought to the next
// version's form as they are read.
func Names() []string { return registered.names() }

// NamesOf gives all names under which events of some types may be stored, old ones too.
func NamesOf(types ...any) map[string]bool {
	of := map[string]bool{}
	for _, n := range names {
		for _, t := range types {
			if reflect.TypeOf(n.event) == reflect.TypeOf(t) {
				of[n.name] = true
			}
		}
	}
	for more := true; more; {
		more = false
		for from, u := range upcasts {
			if of[u.to] && !of[from] {
				of[from], more = true, true
			}
		}
	}
	return of
}

// Kind is a record's name without its version: preset.created.
func (r Record) Kind() string { return unversioned(r.Name) }

// KindOf is the kind that a registered event is stored as.
func KindOf(event any) string { return unversioned(registered.nameOf[reflect.TypeOf(event)]) }

func unversioned(name string) string {
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		return name[:i]
	}
	return name
}
