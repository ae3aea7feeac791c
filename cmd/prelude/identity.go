package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"prelude/internal/esnode"
	"prelude/internal/eventlog"
	"prelude/internal/eventstore"
)

// identifyFolder gives the log in a folder that no node has open a new id.
func identifyFolder(ctx context.Context, dir string) (id string, err error) {
	// A socket's path must be short, and its folder our own.
	private, err := os.MkdirTemp("", "prelude-node")
	if err != nil {
		return "", fmt.Errorf("make a folder for the node's socket: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(private)) }()
	socket := filepath.Join(private, "node.sock")
	node, err := esnode.Start(ctx, esnode.Config{Dir: dir, Socket: socket})
	if err != nil {
		return "", fmt.Errorf("start the event node: %w", err)
	}
	store, err := eventstore.Open(eventstore.Config{Socket: socket})
	if err != nil {
		return "", errors.Join(err, node.Close())
	}
	id, err = identify(ctx, store)
	return id, errors.Join(err, store.Close(), node.Close())
}

// identify writes a new id at the end of the log's identity stream, after those of the log that it was copied from: the
// last one counts, and those before say whose keys fit.
func identify(ctx context.Context, store eventlog.Store, before ...string) (string, error) {
	last := eventlog.None
	for raw, err := range store.Read(ctx, eventlog.IdentityStream.String(), eventlog.Last, eventlog.Backwards, 1) {
		if err != nil {
			return "", fmt.Errorf("read the log's id: %w", err)
		}
		last = raw.Revision
	}
	log, id := eventlog.Log{Store: store}, uuid.NewString()
	meta := eventlog.Meta{Job: "setup", Command: uuid.New(), Step: uuid.New(), At: time.Now()}
	var events []any
	for _, log := range append(before, id) {
		events = append(events, eventlog.Identified{Log: log})
	}
	_, _, err := log.Append(ctx, eventlog.IdentityStream, last, meta, events)
	return id, err
}
