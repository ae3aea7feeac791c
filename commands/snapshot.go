package commands

import (
	"context"
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"prelude/internal/eventlog"
)

// Snapshots keeps folds of long streams, so that one that is in no memory need not be folded from its first
// event. What it keeps can be lost at any time.
type Snapshots interface {
	// Snapshot gives the newest of a stream that was made under a schema; found is false where there is none.
	Snapshot(ctx context.Context, stream string, schema int) (s Snapshot, found bool, err error)
	// KeepSnapshot replaces an older one of the stream.
	KeepSnapshot(ctx context.Context, stream string, schema int, s Snapshot) error
}

// Snapshot is a fold at a revision.
type Snapshot struct {
	Revision eventlog.Revision
	Position eventlog.Position
	Fold     []byte // JSON
}

const (
	// snapshotEvery is how many events lie between two snapshots of a stream.
	snapshotEvery = 500
	// snapshotSchema is the version of what is in them. It changes with the fold of a session: what it means, or
	// how it is written.
	snapshotSchema = 2
)

// snapshotted says whether a stream's fold is kept: that of sessions, which grow long and hold no open texts.
// Folds of presets do, and must not lie about.
func (e *Engine) snapshotted(s eventlog.Stream) bool {
	return e.Snapshots != nil && s.Category == eventlog.SessionCategory
}

type storedFold[S any] struct {
	State  S            `json:"state"`
	Recent []storedStep `json:"recent"` // newest first
}

type storedStep struct {
	Step  uuid.UUID `json:"step"`
	Body  string    `json:"body,omitempty"`
	Began string    `json:"began"`
	At    time.Time `json:"at"`
	First bool      `json:"first,omitempty"`
}

// fromSnapshot gives the fold to begin with. A snapshot that cannot be had is not missed: it is only slower.
func fromSnapshot[S any](ctx context.Context, e *Engine, stream eventlog.Stream) folded[S] {
	none := folded[S]{Revision: eventlog.None}
	if !e.snapshotted(stream) {
		return none
	}
	s, found, err := e.Snapshots.Snapshot(ctx, stream.String(), snapshotSchema)
	if err != nil {
		e.Logger.Warn("a snapshot was not read", "category", stream.Category, "error", err)
	}
	var stored storedFold[S]
	if !found || err != nil || json.Unmarshal(s.Fold, &stored) != nil {
		return none
	}
	f := folded[S]{State: stored.State, Revision: s.Revision, Position: s.Position}
	for i := len(stored.Recent) - 1; i >= 0; i-- {
		r := stored.Recent[i]
		f.recent = &remembered{step: r.Step, body: r.Body, began: r.Began, at: r.At, first: r.First,
			before: f.recent, length: len(stored.Recent) - i}
	}
	return f
}

// keepSnapshot keeps a fold that has come far enough beyond the last snapshot's place.
func keepSnapshot[S any](ctx context.Context, e *Engine, stream eventlog.Stream, was eventlog.Revision, f folded[S]) {
	if !e.snapshotted(stream) || f.Revision/snapshotEvery == was/snapshotEvery || f.Revision < snapshotEvery {
		return
	}
	stored := storedFold[S]{State: f.State, Recent: []storedStep{}}
	for r := f.recent; r != nil && len(stored.Recent) < rememberMost; r = r.before {
		stored.Recent = append(stored.Recent,
			storedStep{Step: r.step, Body: r.body, Began: r.began, At: r.at, First: r.first})
	}
	fold, err := json.Marshal(stored)
	if err == nil {
		err = e.Snapshots.KeepSnapshot(ctx, stream.String(), snapshotSchema,
			Snapshot{Revision: f.Revision, Position: f.Position, Fold: fold})
	}
	if err != nil {
		e.Logger.Warn("a snapshot was not kept", "category", stream.Category, "error", err)
	}
}
