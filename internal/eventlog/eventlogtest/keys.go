// Package eventlogtest gives tests of what stands on the log a vault that needs no database. It is for tests
// only.
package eventlogtest

import (
	"context"
	"crypto/sha256"
	"slices"
	"strings"
	"sync"

	"prelude/domain"
	"prelude/internal/eventlog"
)

// Keys implements eventlog.Keys: it has every key but those that were destroyed. A key follows from its id.
type Keys struct {
	mu        sync.Mutex
	destroyed map[domain.KeyID]bool
	made      map[domain.KeyID]bool     // that were asked for
	erased    []func(domain.KeyID) bool // persons, whose keys are destroyed whichever they are
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
	if k.made == nil {
		k.made = map[domain.KeyID]bool{}
	}
	for _, id := range ids {
		if k.gone(id) {
			return domain.ErrErased
		}
		k.made[id] = true
	}
	return nil
}

func (k *Keys) gone(id domain.KeyID) bool {
	return k.destroyed[id] || slices.ContainsFunc(k.erased, func(of func(domain.KeyID) bool) bool { return of(id) })
}

// Erase destroys the keys of a person, and those of every session in which they wrote.
func (k *Keys) Erase(_ context.Context, org domain.OrgID, user domain.UserID) error {
	own, days := domain.UserKey(org, user), string(domain.DayKey(org, user, ""))
	wrote := func(id domain.KeyID) bool {
		return strings.HasPrefix(string(id), "a."+domain.Bare(org)+".") &&
			strings.HasSuffix(string(id), "."+domain.Bare(user))
	}
	var sessions []domain.KeyID
	k.mu.Lock()
	k.erased = append(k.erased, func(id domain.KeyID) bool {
		return id == own || strings.HasPrefix(string(id), days) || wrote(id)
	})
	for id := range k.made {
		if wrote(id) {
			part := strings.Split(string(id), ".")
			sessions = append(sessions, domain.KeyID("s."+part[1]+"."+part[2]))
		}
	}
	k.mu.Unlock()
	k.Destroy(sessions...)
	return nil
}

// Expire destroys the keys of a session.
func (k *Keys) Expire(_ context.Context, org domain.OrgID, s domain.SessionID) error {
	authors := string(domain.AuthorKey(org, s, ""))
	k.mu.Lock()
	k.erased = append(k.erased, func(id domain.KeyID) bool { return strings.HasPrefix(string(id), authors) })
	k.mu.Unlock()
	k.Destroy(domain.SessionKey(org, s))
	return nil
}

// Find gives the keys that are not destroyed.
func (k *Keys) Find(_ context.Context, ids ...domain.KeyID) (map[domain.KeyID]*eventlog.Key, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	found := map[domain.KeyID]*eventlog.Key{}
	for _, id := range ids {
		if k.gone(id) {
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
