package vault

import (
	"context"
	"crypto/hmac"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/jackc/pgx/v5"

	"prelude/domain"
	"prelude/internal/eventlog"
)

// next is where the new master key lies while the old one is replaced.
func next(path string) string { return path + ".next" }

// page is how many keys are in memory at once where all are gone through.
const page = 1000

// Rotate replaces the master key in a file by a new one, and wraps anew what the old one wraps. In order: the new
// key is on the disk beside the old one; the vault changes, all or nothing; the new key takes the old one's place.
// Whatever ends it in between, one of the two files opens the vault, and [Settle] finds out which. It says how many
// keys were wrapped anew. The caller keeps others from using the vault meanwhile; who does not know of it can make
// no key that the old master key wraps.
func (v *Vault) Rotate(ctx context.Context, path string) (keys int, err error) {
	raw, err := readMaster(next(path)) // what a rotation left that did not come to its end
	if errors.Is(err, fs.ErrNotExist) {
		raw, err = newMaster(next(path))
	}
	if err != nil {
		return 0, err
	}
	keys, err = v.rewrap(ctx, raw)
	if err != nil {
		return 0, fmt.Errorf("rotate the master key: %w", err)
	}
	if err := rename(next(path), path); err != nil {
		return keys, fmt.Errorf("put the new master key in its place: %w", err)
	}
	return keys, nil
}

// rewrap makes another master key the vault's, in one transaction.
func (v *Vault) rewrap(ctx context.Context, raw []byte) (keys int, err error) {
	to, err := eventlog.NewKey(raw)
	if err != nil {
		return 0, err
	}
	err = v.within(ctx, pgx.TxOptions{}, func(tx pgx.Tx) error {
		// Held until the end, so that no key is made meanwhile that only the old one opens.
		var stored []byte
		if err := tx.QueryRow(ctx, `SELECT proof FROM vault.master FOR UPDATE`).Scan(&stored); err != nil {
			return err
		}
		if !hmac.Equal(stored, proof(v.master)) {
			return ErrMasterWrong
		}
		for after := ""; ; {
			last, n, err := v.rewrapPage(ctx, tx, to, after)
			if err != nil {
				return err
			}
			if n == 0 {
				break
			}
			after, keys = last, keys+n
		}
		_, err := tx.Exec(ctx, `UPDATE vault.master SET proof = $1, mac = $2`, proof(to), to.Seal(v.mac, macAAD))
		return err
	})
	if err == nil {
		v.master = to
	}
	return keys, err
}

// rewrapPage wraps the next keys anew that the master key wraps: those of orgs and of persons.
func (v *Vault) rewrapPage(ctx context.Context, tx pgx.Tx, to *eventlog.Key, after string) (last string, n int,
	err error) {
	rows, err := tx.Query(ctx, `SELECT id, wrapped FROM vault.keys
		WHERE (id >= 'o.' AND id < 'o/' OR id >= 'u.' AND id < 'u/') AND id > $1 AND destroyed_at IS NULL
		ORDER BY id LIMIT $2`, after, page)
	if err != nil {
		return "", 0, err
	}
	var ids []string
	var wrapped [][]byte
	var id string
	var sealed []byte
	_, err = pgx.ForEachRow(rows, []any{&id, &sealed}, func() error {
		raw, err := v.master.Open(sealed, []byte(id))
		if err != nil {
			return fmt.Errorf("unwrap a key: %w", err)
		}
		ids, wrapped = append(ids, id), append(wrapped, to.Seal(raw, []byte(id)))
		return nil
	})
	if err != nil || len(ids) == 0 {
		return "", 0, err
	}
	// One that is destroyed at this moment stays so.
	_, err = tx.Exec(ctx, `UPDATE vault.keys AS k SET wrapped = q.wrapped
		FROM unnest($1::text[], $2::bytea[]) AS q (id, wrapped) WHERE k.id = q.id AND k.destroyed_at IS NULL`,
		ids, wrapped)
	return id, len(ids), err
}

// within runs statements in the vault's role, in one transaction.
func (v *Vault) within(ctx context.Context, options pgx.TxOptions, do func(pgx.Tx) error) error {
	return pgx.BeginTxFunc(ctx, v.pool, options, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT set_config('role', 'prelude_vault', true)`); err != nil {
			return err
		}
		return do(tx)
	})
}

// What Settle can find. Each is a sentence for whoever started the program.
const (
	Completed = "a rotation of the master key was cut off after the vault had changed: the new key, which lay beside " +
		"the old one as .next, is in its place now; the old one opens nothing any more but older backups"
	Abandoned = "a rotation of the master key was cut off before the vault changed: the old key is still the right " +
		"one; the file .next beside it is what prelude vault rotate goes on with"
)

// Settle ends what a rotation left that was cut off: if the key beside the one in the file is the vault's, it takes
// the other's place. It says what it found; empty: nothing was left.
func Settle(ctx context.Context, q Querier, path string) (found string, err error) {
	found, err = Look(ctx, q, path)
	if err != nil || found != Completed {
		return found, err
	}
	if err := rename(next(path), path); err != nil {
		return "", fmt.Errorf("put the new master key in its place: %w", err)
	}
	return found, nil
}

// Look says what Settle would find, and changes nothing.
func Look(ctx context.Context, q Querier, path string) (found string, err error) {
	if _, err := os.Stat(next(path)); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if fresh, err := Fresh(ctx, q); err != nil || fresh {
		return "", err // no key is the vault's yet
	}
	raw, err := readMaster(next(path))
	if err != nil {
		return "", fmt.Errorf("%s: %w", next(path), err)
	}
	switch err := Check(ctx, q, raw); {
	case err == nil:
		return Completed, nil
	case !errors.Is(err, ErrMasterWrong):
		return "", err
	}
	// Which of two keys that both are wrong was meant is not for us to say.
	if raw, _, err = MasterKey(path, false); err != nil {
		return "", err
	}
	if err := Check(ctx, q, raw); err != nil {
		return "", err
	}
	return Abandoned, nil
}

// topLevel says whether the master key itself wraps a key.
func topLevel(id domain.KeyID) bool { return parent(id) == "" }
