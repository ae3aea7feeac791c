// Package eventlogtest gives tests of what stands on the log a vault that needs no database. It is for tests
// only.
package eventlogtest

import (
	"context"
	"crypto/sha256"
	"sync"

	"prelude/domain"
	"prelude/internal/eventlog"
)

// Keys implements eventlog.Keys: it has every key but those that were destroyed. A key follows from its id.
type Keys struct {
	mu        sync.Mutex
	destroyed map[domain.KeyID]bool
}

// Without is a vault in which keys were destroyed.
func Without(ids ...domain.KeyID) *Keys {
	k := &Keys{}
	k.Destroy(ids...)
	return k
}

// Destroy destroys keys.
func (k *Keys) Destroy(ids ...domain.KeyID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.destroyed == nil {
		k.destroyed = map[domain.KeyID]bool{}
	}
	for _, id := range ids {
		k.destroyed[id] = true
	}
}

// Ensure refuses to make a destroyed key again.
func (k *Keys) Ensure(_ context.Context, ids ...domain.KeyID) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, id := range ids {
		if k.destroyed[id] {
			return &domain.Error{Kind: domain.Conflict, Code: "erased"}
		}
	}
	return nil
}

// Find gives the keys that are not destroyed.
func (k *Keys) Find(_ context.Context, ids ...domain.KeyID) (map[domain.KeyID]*eventlog.Key, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	found := map[domain.KeyID]*eventlog.Key{}
	for _, id := range ids {
		if k.destroyed[id] {
			continue
		}
		raw := sha256.Sum256([]byte(id))
		key, err := eventlog.NewKey(raw[:])
		if err != nil {
			return nil, err
		}
		found[id] = key
	}
	return found, nil
}
