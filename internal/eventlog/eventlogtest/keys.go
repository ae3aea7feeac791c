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
	k.mark(ids...)
}

func (k *Keys) mark(ids ...domain.KeyID) {
	if k.destroyed == nil {
		k.destroyed = map[domain.KeyID]bool{}
	}
	for _, id := range ids {
		k.destroyed[id] = true
	}
}

// All says of every key that was made or destroyed whether it is there.
func (k *Keys) All() map[domain.KeyID]bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := map[domain.KeyID]bool{}
	for id := range k.made {
		all[id] = !k.gone(id)
	}
	for id := range k.destroyed {
		all[id] = false
	}
	return all
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
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mark(own)
	k.erased = append(k.erased, func(id domain.KeyID) bool {
		return strings.HasPrefix(string(id), days) || wrote(id)
	})
	for id := range k.made {
		if wrote(id) {
			part := strings.Split(string(id), ".")
			k.mark(domain.KeyID("s." + part[1] + "." + part[2]))
		}
	}
	return nil
}

// Expire destroys the keys of a session.
func (k *Keys) Expire(_ context.Context, org domain.OrgID, s domain.SessionID) error {
	authors := string(domain.AuthorKey(org, s, ""))
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mark(domain.SessionKey(org, s))
	k.erased = append(k.erased, func(id domain.KeyID) bool { return strings.HasPrefix(string(id), authors) })
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
