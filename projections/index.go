package projections

import (
	"context"
	"time"

	"prelude/internal/eventlog"
)

// Document is what the search index holds of one preset: the row as views had it at Position.
type Document struct {
	ID           string
	Org          string
	Scope        string // user or org
	Owner        string // usr_…
	Slug         string
	Name         string
	Description  string
	Instructions string
	Tags         []string
	Language     string
	Model        string
	Status       string
	Version      int
	Deleted      bool
	CreatedAt    time.Time
	UpdatedAt    time.Time
	Position     eventlog.Position
}

// Index is the port to the search index. internal/search implements it.
type Index interface {
	// Missing says that there is no index.
	Missing(ctx context.Context) (bool, error)
	// Bootstrap makes the index if it is missing; made says that it was, so that all must be put again.
	Bootstrap(ctx context.Context) (made bool, err error)
	// Put stores documents, each whole and only if none of a higher position is there. It returns when each
	// is settled. An error means that not all are: the same call is to be made again.
	Put(ctx context.Context, docs []Document) error
}
