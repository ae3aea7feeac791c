// Package vault keeps the keys under which people's texts are sealed, each wrapped by its owner's key and
// those by the master key, in a Postgres schema that no rebuild touches. Destroying a key is how a text is
// erased; the vault never makes a destroyed key again.
package vault

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/maypok86/otter/v2"

	"prelude/domain"
	"prelude/internal/eventlog"
)

// Vault implements eventlog.Keys.
type Vault struct {
	pool   *pgxpool.Pool
	master *eventlog.Key
	cache  *otter.Cache[domain.KeyID, *eventlog.Key]
}

// Open opens the vault with the master key, and proves that it is the right one.
func Open(ctx context.Context, pool *pgxpool.Pool, master []byte) (*Vault, error) {
	key, err := eventlog.NewKey(master)
	if err != nil {
		return nil, fmt.Errorf("master key: %w", err)
	}
	cache, err := otter.New(&otter.Options[domain.KeyID, *eventlog.Key]{MaximumSize: 100_000})
	if err != nil {
		return nil, err
	}
	v := &Vault{pool: pool, master: key, cache: cache}
	return v, v.prove(ctx)
}

// MasterMAC is an HMAC under the master key, for names that must be found without a key of their own.
func (v *Vault) MasterMAC(purpose string, text []byte) []byte { return v.master.MAC(purpose, text) }

// parent is the key that wraps another; empty: the master key does.
func parent(id domain.KeyID) domain.KeyID {
	part := strings.Split(string(id), ".")
	switch {
	case part[0] == "s" && len(part) == 3: // a session's, by its org's
		return domain.KeyID("o." + part[1])
	case part[0] == "a" && len(part) == 4: // an author's in a session, by the user's
		return domain.KeyID("u." + part[1] + "." + part[3])
	case part[0] == "d" && len(part) == 4: // a day's, by the user's
		return domain.KeyID("u." + part[1] + "." + part[2])
	}
	return ""
}

var errErased = &domain.Error{Kind: domain.Conflict, Code: "erased",
	Detail: "Its texts were erased: nothing can be added."}

// Ensure makes the keys that do not exist.
func (v *Vault) Ensure(ctx context.Context, ids ...domain.KeyID) error {
	_, err := v.ensure(ctx, ids...)
	return err
}

func (v *Vault) ensure(ctx context.Context, ids ...domain.KeyID) (map[domain.KeyID]*eventlog.Key, error) {
	found, err := v.Find(ctx, ids...)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if found[id] != nil {
			continue
		}
		if found[id], err = v.make(ctx, id); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// make stores a new key, unless another did at the same time, and reads back what is there.
func (v *Vault) make(ctx context.Context, id domain.KeyID) (*eventlog.Key, error) {
	by := v.master
	if p := parent(id); p != "" {
		parents, err := v.ensure(ctx, p)
		if err != nil {
			return nil, err
		}
		by = parents[p]
	}
	raw := make([]byte, eventlog.KeySize)
	_, _ = rand.Read(raw) // it cannot fail: crypto/rand ends the program instead
	wrapped := by.Seal(raw, []byte(id))
	batch := batch()
	batch.Queue(`INSERT INTO vault.keys (id, wrapped) VALUES ($1, $2) ON CONFLICT DO NOTHING`,
		string(id), wrapped)
	if err := v.pool.SendBatch(ctx, batch).Close(); err != nil {
		return nil, fmt.Errorf("store a key: %w", err)
	}
	found, err := v.Find(ctx, id)
	if err == nil && found[id] == nil {
		err = errErased
	}
	return found[id], err
}

// batch is statements in the vault's role.
func batch() *pgx.Batch {
	b := &pgx.Batch{}
	b.Queue(`SELECT set_config('role', 'prelude_vault', true)`)
	return b
}

// Find gives the keys that exist, with at most one statement.
func (v *Vault) Find(ctx context.Context, ids ...domain.KeyID) (map[domain.KeyID]*eventlog.Key, error) {
	found := make(map[domain.KeyID]*eventlog.Key, len(ids))
	// What is at hand now: the cache may drop it before it is needed.
	known := map[domain.KeyID]*eventlog.Key{}
	var ask []string
	for _, id := range ids {
		if key, ok := v.cache.GetIfPresent(id); ok {
			found[id] = key
			continue
		}
		ask = append(ask, string(id))
		p := parent(id)
		if key, ok := v.cache.GetIfPresent(p); ok {
			known[p] = key
		} else if p != "" {
			ask = append(ask, string(p))
		}
	}
	if len(ask) == 0 {
		return found, nil
	}
	wrapped, err := v.read(ctx, ask)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if found[id] != nil {
			continue
		}
		key, err := v.unwrap(id, wrapped, known)
		if err != nil {
			return nil, err
		}
		if key != nil {
			found[id] = key
		}
	}
	return found, nil
}

func (v *Vault) read(ctx context.Context, ids []string) (map[domain.KeyID][]byte, error) {
	b := batch()
	wrapped := map[domain.KeyID][]byte{}
	b.Queue(`SELECT id, wrapped FROM vault.keys WHERE id = ANY($1) AND destroyed_at IS NULL`, ids).
		Query(func(rows pgx.Rows) error {
			var id string
			var key []byte
			_, err := pgx.ForEachRow(rows, []any{&id, &key}, func() error {
				wrapped[domain.KeyID(id)] = append([]byte(nil), key...)
				return nil
			})
			return err
		})
	if err := v.pool.SendBatch(ctx, b).Close(); err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	return wrapped, nil
}

// unwrap gives a key; nil without an error: it, or the one that wraps it, is not there.
func (v *Vault) unwrap(id domain.KeyID, wrapped map[domain.KeyID][]byte,
	known map[domain.KeyID]*eventlog.Key) (*eventlog.Key, error) {
	if key := known[id]; key != nil {
		return key, nil
	}
	sealed := wrapped[id]
	if sealed == nil {
		return nil, nil //nolint:nilnil // absent is an answer here
	}
	by := v.master
	if p := parent(id); p != "" {
		var err error
		if by, err = v.unwrap(p, wrapped, known); by == nil || err != nil {
			return nil, err
		}
	}
	raw, err := by.Open(sealed, []byte(id))
	if err != nil {
		return nil, fmt.Errorf("unwrap a key: %w", err)
	}
	key, err := eventlog.NewKey(raw)
	if err != nil {
		return nil, err
	}
	known[id] = key
	v.cache.Set(id, key)
	return key, nil
}
