package eventlog

import (
	"fmt"
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
}

// names are the stored names of all events: noun, verb, version of the JSON. A name and what is
// stored under it never change; a changed event gets the next version.
var names = []struct {
	name  string
	event any
}{
	{"log.identified.v1", Identified{}},
	{"org.founded.v1", org.Founded{}},
	{"user.joined.v1", user.Joined{}},
	{"apikey.issued.v1", apikey.Issued{}},
	{"apikey.revoked.v1", apikey.Revoked{}},
	{"claim.claimed.v1", claim.Claimed{}},
	{"claim.released.v1", claim.Released{}},
	{"preset.created.v1", preset.Created{}},
	{"preset.edited.v1", preset.Edited{}},
	{"preset.renamed.v1", preset.Renamed{}},
	{"preset.published.v1", preset.Published{}},
	{"preset.labeled.v1", preset.Labeled{}},
	{"preset.unlabeled.v1", preset.Unlabeled{}},
	{"preset.deleted.v1", preset.Deleted{}},
	{"preset.restored.v1", preset.Restored{}},
	{"session.started.v1", session.Started{}},
	{"session.branched.v1", session.Branched{}},
	{"session.preset_applied.v1", session.PresetApplied{}},
	{"session.message_posted.v1", session.MessagePosted{}},
	{"session.reply_started.v1", session.ReplyStarted{}},
	{"session.context_assembled.v1", session.ContextAssembled{}},
	{"session.reply_completed.v1", session.ReplyCompleted{}},
	{"session.reply_failed.v1", session.ReplyFailed{}},
	{"session.reply_cancelled.v1", session.ReplyCancelled{}},
	{"session.renamed.v1", session.Renamed{}},
	{"session.deleted.v1", session.Deleted{}},
	{"session.restored.v1", session.Restored{}},
	{"completion.started.v1", completion.Started{}},
	{"completion.ended.v1", completion.Ended{}},
}

var (
	typeOf = map[string]reflect.Type{}
	nameOf = map[reflect.Type]string{}
)

func init() {
	for _, n := range names {
		t := reflect.TypeOf(n.event)
		if typeOf[n.name] != nil || nameOf[t] != "" {
			panic(fmt.Sprintf("event %s is registered twice", n.name))
		}
		typeOf[n.name], nameOf[t] = t, n.name
	}
}

// Names lists the registered names, in the order of the registry.
func Names() []string {
	all := make([]string, len(names))
	for i, n := range names {
		all[i] = n.name
	}
	return all
}

// Kind is a record's name without its version: preset.created.
func (r Record) Kind() string { return unversioned(r.Name) }

// KindOf is the kind that a registered event is stored as.
func KindOf(event any) string { return unversioned(nameOf[reflect.TypeOf(event)]) }

func unversioned(name string) string {
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		return name[:i]
	}
	return name
}
