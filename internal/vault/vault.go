// Package vault keeps the keys under which people's texts are sealed, each wrapped by its owner's key and
// those by the master key, in a Postgres schema that no rebuild touches. Destroying a key is how a text is
// erased; the vault never makes a destroyed key again.
//
// What it promises: a key is in the vault before anything is sealed under it. A destroyed key opens nothing from
// the moment at which Destroy, Erase or Expire returns; on other instances from when they are told to Forget, or
// can no longer be told. A restored backup brings no destroyed key back: marks win, and erasures that the log
// tells of are applied in the same transaction. A rotation of the master key changes no other key, and no name
// that was made with MAC. What is refused changes nothing.
//
// What it does not promise: Postgres itself keeps what was overwritten for a while, in dead rows until a vacuum
// takes them, in its write-ahead log until that is recycled, and in archives and base backups for as long as they
// are kept. Keys lie there wrapped, so whoever has both such a copy and the master key of its time can still open
// what was sealed under them. The same holds for older backups of the vault. To let those age out, and to rotate
// the master key once they have, is the operator's work.
package vault

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/maypok86/otter/v2"

	"prelude/domain"
	"prelude/internal/eventlog"
)

// Querier is a connection, a pool or a transaction, through which a vault is looked at that need not be open.
type Querier interface {
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}

// Vault implements eventlog.Keys.
type Vault struct {
	// Watched says that Forget would be called when keys are destroyed elsewhere; else no key is taken from
	// memory. It is set before the vault is used.
	Watched func() bool
	pool    *pgxpool.Pool
	master  *eventlog.Key
	mac     eventlog.MACKey
	cache   *otter.Cache[domain.KeyID, *eventlog.Key]
	mu      sync.Mutex // held while something is put into the cache, or all is taken out
	forgot  uint64     // how often all was taken out
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
	v := &Vault{pool: pool, master: key, cache: cache, Watched: func() bool { return true }}
	return v, v.prove(ctx)
}

// MasterMAC is an HMAC for names that must be found without a key of their own. It stays the same when the master
// key is rotated.
func (v *Vault) MasterMAC(purpose string, text []byte) []byte { return v.mac.MAC(purpose, text) }

// Installation names the vault, and with it whose a log is. It stays the same when the master key is rotated, and in a
// backup.
func (v *Vault) Installation() string {
	return hex.EncodeToString(v.MasterMAC("installation", nil)[:16])
}

// Forget drops all keys from memory: some were destroyed, perhaps by another process.
func (v *Vault) Forget() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.forgot++
	v.cache.InvalidateAll()
}

// epoch is what keep asks for: what was read in an earlier one may be destroyed.
func (v *Vault) epoch() uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.forgot
}

func (v *Vault) keep(epoch uint64, keys map[domain.KeyID]*eventlog.Key) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.forgot != epoch {
		return
	}
	for id, key := range keys {
		v.cache.Set(id, key)
	}
}

func (v *Vault) cached(id domain.KeyID) (*eventlog.Key, bool) {
	if !v.Watched() {
		return nil, false
	}
	return v.cache.GetIfPresent(id)
}

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

// make stores a new key, unless another did at the same time, and reads back what is there. What wraps it is held
// until then: a key that is destroyed, or a master key that is replaced, at this moment wraps no more keys.
func (v *Vault) make(ctx context.Context, id domain.KeyID) (*eventlog.Key, error) {
	by, p := v.master, parent(id)
	if p != "" {
		parents, err := v.ensure(ctx, p)
		if err != nil {
			return nil, err
		}
		by = parents[p]
	}
	raw := make([]byte, eventlog.KeySize)
	_, _ = rand.Read(raw) // it cannot fail: crypto/rand ends the program instead
	wrapped := by.Seal(raw, []byte(id))
	b := batch()
	held := false
	if p == "" {
		b.Queue(`SELECT true FROM vault.master WHERE proof = $1 FOR SHARE`, proof(v.master)).Query(flag(&held))
	} else {
		b.Queue(`SELECT true FROM vault.keys WHERE id = $1 AND destroyed_at IS NULL FOR SHARE`, string(p)).
			Query(flag(&held))
	}
	b.Queue(`INSERT INTO vault.keys (id, wrapped) SELECT $1, $2 WHERE CASE WHEN $3 = ''
			THEN EXISTS (SELECT FROM vault.master WHERE proof = $4)
			ELSE EXISTS (SELECT FROM vault.keys WHERE id = $3 AND destroyed_at IS NULL) END
		ON CONFLICT DO NOTHING`, string(id), wrapped, string(p), proof(v.master))
	if err := v.pool.SendBatch(ctx, b).Close(); err != nil {
		return nil, fmt.Errorf("store a key: %w", err)
	}
	if p == "" && !held {
		return nil, ErrMasterWrong
	}
	found, err := v.Find(ctx, id)
	if err == nil && found[id] == nil {
		err = domain.ErrErased
	}
	return found[id], err
}

// flag notes that there is a row.
func flag(there *bool) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		*there = rows.Next()
		rows.Close()
		return rows.Err()
	}
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
	epoch := v.epoch()
	// What is at hand now: the cache may drop it before it is needed.
	known := map[domain.KeyID]*eventlog.Key{}
	var ask []string
	for _, id := range ids {
		if key, ok := v.cached(id); ok {
			found[id] = key
			continue
		}
		ask = append(ask, string(id))
		p := parent(id)
		if key, ok := v.cached(p); ok {
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
	v.keep(epoch, known)
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
	return key, nil
}
