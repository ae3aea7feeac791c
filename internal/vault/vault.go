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
	var missing []domain.KeyID
	for _, id := range ids {
		if _, ok := v.cache.GetIfPresent(id); !ok {
			missing = append(missing, id)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	found, err := v.Find(ctx, missing...)
	if err != nil {
		return err
	}
	for _, id := range missing {
		if found[id] != nil {
			continue
		}
		if err := v.make(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// make stores a new key, unless another did at the same time, and reads back what is there.
func (v *Vault) make(ctx context.Context, id domain.KeyID) error {
	by := v.master
	if p := parent(id); p != "" {
		if err := v.Ensure(ctx, p); err != nil {
			return err
		}
		by, _ = v.cache.GetIfPresent(p)
	}
	if by == nil {
		return fmt.Errorf("the key that wraps %q is not there", strings.SplitN(string(id), ".", 2)[0])
	}
	raw := make([]byte, eventlog.KeySize)
	_, _ = rand.Read(raw) // it cannot fail: crypto/rand ends the program instead
	wrapped := by.Seal(raw, []byte(id))
	batch := v.batch()
	batch.Queue(`INSERT INTO vault.keys (id, wrapped) VALUES ($1, $2) ON CONFLICT DO NOTHING`,
		string(id), wrapped)
	if err := v.pool.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("store a key: %w", err)
	}
	found, err := v.Find(ctx, id)
	if err != nil {
		return err
	}
	if found[id] == nil {
		return errErased
	}
	return nil
}

func (v *Vault) batch() *pgx.Batch {
	b := &pgx.Batch{}
	b.Queue(`SELECT set_config('role', 'prelude_vault', true)`)
	return b
}

// Find gives the keys that exist, with at most one statement.
func (v *Vault) Find(ctx context.Context, ids ...domain.KeyID) (map[domain.KeyID]*eventlog.Key, error) {
	found := make(map[domain.KeyID]*eventlog.Key, len(ids))
	var ask []string
	for _, id := range ids {
		if key, ok := v.cache.GetIfPresent(id); ok {
			found[id] = key
			continue
		}
		ask = append(ask, string(id))
		if p := parent(id); p != "" {
			if _, ok := v.cache.GetIfPresent(p); !ok {
				ask = append(ask, string(p))
			}
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
		if found[id] == nil {
			if found[id], err = v.unwrap(id, wrapped); err != nil {
				return nil, err
			}
		}
		if found[id] == nil {
			delete(found, id)
		}
	}
	return found, nil
}

func (v *Vault) read(ctx context.Context, ids []string) (map[domain.KeyID][]byte, error) {
	b := v.batch()
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
func (v *Vault) unwrap(id domain.KeyID, wrapped map[domain.KeyID][]byte) (*eventlog.Key, error) {
	if key, ok := v.cache.GetIfPresent(id); ok {
		return key, nil
	}
	sealed := wrapped[id]
	if sealed == nil {
		return nil, nil //nolint:nilnil // absent is an answer here
	}
	by := v.master
	if p := parent(id); p != "" {
		var err error
		if by, err = v.unwrap(p, wrapped); by == nil || err != nil {
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
	v.cache.Set(id, key)
	return key, nil
}
