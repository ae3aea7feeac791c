package vault

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"prelude/domain"
	"prelude/internal/eventlog"
)

// Why a backup is refused. Nothing was changed then.
var (
	ErrNoBackup = errors.New("the file is not a backup of a vault that this program can read; nothing was changed")
	ErrCut      = errors.New("the backup is cut short, or was changed since it was written: " +
		"use another copy; nothing was changed")
	ErrOtherMaster = errors.New("the backup was made under another master key: with the key of its time, named by " +
		"PRELUDE_MASTER_KEY_FILE, it can be restored, into an empty database alone; nothing was changed")
	ErrOtherLog = errors.New("the backup holds the keys of another log: open the log that it belongs to; " +
		"nothing was changed")
	ErrDiffers = errors.New("the vault and the backup hold different keys under one id, so one of the two belongs to " +
		"another history: restore into an empty database; nothing was changed")
)

// Erased is a person whom the log says was erased.
type Erased struct {
	Org  domain.OrgID
	User domain.UserID
}

// Restored is what a restore did.
type Restored struct {
	Head
	Keys  int // in the backup
	Added int // that the vault did not have
}

// Restore merges a backup into the vault behind a pool, in one transaction. A key that was destroyed in either stays
// destroyed, and those of the erased are destroyed in the same transaction, so that at no moment they open. The vault
// may be empty; else it has to have the same master key. The backup is of one of logIDs.
// Errors: [ErrNoBackup], [ErrCut], [ErrOtherMaster],
// [ErrOtherLog], [ErrDiffers], [ErrMasterWrong].
func Restore(ctx context.Context, pool *pgxpool.Pool, master []byte, path string, logIDs []string, erased []Erased,
) (Restored, error) {
	key, err := eventlog.NewKey(master)
	if err != nil {
		return Restored{}, fmt.Errorf("master key: %w", err)
	}
	f, err := os.Open(path)
	if err != nil {
		return Restored{}, err
	}
	defer func() { _ = f.Close() }() // it was only read
	r := Restored{}
	// It is read twice, so that nothing of it is used, and an empty vault takes no master key, before all of it was
	// proven.
	if r.Head, r.Keys, err = read(f, key, logIDs, nil); err != nil {
		return Restored{}, err
	}
	v, err := Open(ctx, pool, master)
	if err != nil {
		return Restored{}, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return Restored{}, err
	}
	err = v.within(ctx, pgx.TxOptions{}, func(tx pgx.Tx) error {
		if err := v.sameNames(ctx, tx, r.Head); err != nil {
			return err
		}
		_, _, err := read(f, v.master, logIDs, func(keys []kept) error {
			n, err := v.merge(ctx, tx, keys)
			r.Added += n
			return err
		})
		if err != nil {
			return err
		}
		return forget(ctx, tx, erased)
	})
	if err != nil {
		return Restored{}, fmt.Errorf("restore the vault: %w", err)
	}
	return r, nil
}

// forget destroys once more what was erased, and has the next start look at the whole log for it.
func forget(ctx context.Context, tx pgx.Tx, erased []Erased) error {
	b := &pgx.Batch{}
	for _, e := range erased {
		queueErase(b, e.Org, e.User)
	}
	b.Queue(unapply)
	return tx.SendBatch(ctx, b).Close()
}

// read goes through a backup, and hands on what is in it by pages, if that is wanted.
func read(from io.Reader, master *eventlog.Key, logIDs []string, each func([]kept) error,
) (h Head, keys int, err error) {
	in := bufio.NewReader(from)
	mac := master.MACKey().Hash("backup")
	line, err := in.ReadBytes('\n')
	if json.Unmarshal(line, &h) != nil || h.Format != backupFormat || err != nil {
		return h, 0, ErrNoBackup
	}
	if !hmac.Equal(h.Proof, proof(master)) {
		return h, 0, ErrOtherMaster
	}
	mac.Write(line)
	var some []kept
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return h, 0, errors.Join(ErrCut, notEnd(err))
		}
		k, err := parse(line)
		if err != nil {
			return h, 0, err
		}
		if end := k.ID == ""; end || len(some) == page {
			if each != nil && len(some) > 0 {
				if err := each(some); err != nil {
					return h, 0, err
				}
			}
			if end {
				return h, keys, proven(in, h, line, tail{Keys: keys, HMAC: mac.Sum(nil)}, logIDs)
			}
			some = some[:0]
		}
		mac.Write(line)
		some = append(some, k)
		keys++
	}
}

// notEnd is a fault of reading other than the end.
func notEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// parse reads a line: a key, or where that has no id, the last line.
func parse(line []byte) (k kept, err error) {
	var t tail
	if json.Unmarshal(line, &k) != nil || k.ID == "" && (json.Unmarshal(line, &t) != nil || t.HMAC == nil) {
		return k, ErrCut
	}
	return k, nil
}

// proven holds the last line, byte by byte, against what it has to be after what came before it, and then asks whose
// keys these are.
func proven(in *bufio.Reader, h Head, line []byte, want tail, logIDs []string) error {
	last, err := json.Marshal(want)
	if err != nil {
		return err
	}
	if _, err := in.ReadByte(); !errors.Is(err, io.EOF) || !hmac.Equal(line, append(last, '\n')) {
		return ErrCut
	}
	if !slices.Contains(logIDs, h.Log) {
		return ErrOtherLog
	}
	return nil
}

// sameNames holds the key of names against the backup's. An empty vault takes that of the backup.
func (v *Vault) sameNames(ctx context.Context, tx pgx.Tx, h Head) error {
	var stored []byte
	var keys bool
	err := tx.QueryRow(ctx, `SELECT proof, EXISTS (SELECT FROM vault.keys) FROM vault.master FOR UPDATE`).
		Scan(&stored, &keys)
	if err != nil {
		return err
	}
	if !hmac.Equal(stored, proof(v.master)) {
		return ErrMasterWrong
	}
	mac, err := v.master.Open(h.MAC, macAAD)
	switch {
	case err != nil:
		return fmt.Errorf("unwrap the key of names: %w", err)
	case bytes.Equal(mac, v.mac):
		return nil
	case keys:
		return ErrDiffers
	}
	_, err = tx.Exec(ctx, `UPDATE vault.master SET mac = $1`, h.MAC)
	return err
}

// merge adds keys to those that there are, and says how many the vault did not have.
func (v *Vault) merge(ctx context.Context, tx pgx.Tx, keys []kept) (added int, err error) {
	ids := make([]string, len(keys))
	for i, k := range keys {
		ids[i] = string(k.ID)
	}
	rows, err := tx.Query(ctx, `SELECT id, wrapped FROM vault.keys WHERE id = ANY($1) ORDER BY id FOR UPDATE`, ids)
	if err != nil {
		return 0, err
	}
	mine := map[domain.KeyID][]byte{}
	var id string
	var wrapped []byte
	_, err = pgx.ForEachRow(rows, []any{&id, &wrapped}, func() error {
		mine[domain.KeyID(id)] = bytes.Clone(wrapped)
		return nil
	})
	if err != nil {
		return 0, err
	}
	for _, k := range keys {
		old, there := mine[k.ID]
		if !there {
			added++
		}
		if old != nil && k.Destroyed == nil && !v.same(k.ID, old, k.Wrapped) {
			return 0, ErrDiffers
		}
	}
	return added, insert(ctx, tx, ids, keys)
}

// same says whether two wrapped keys are one. A rotation wraps anew those that the master key wraps, and no others.
func (v *Vault) same(id domain.KeyID, a, b []byte) bool {
	if bytes.Equal(a, b) || !topLevel(id) {
		return bytes.Equal(a, b)
	}
	one, err := v.master.Open(a, []byte(id))
	other, failed := v.master.Open(b, []byte(id))
	return err == nil && failed == nil && bytes.Equal(one, other)
}

// insert adds what is new. A mark that a key is destroyed wins over the key.
func insert(ctx context.Context, tx pgx.Tx, ids []string, keys []kept) error {
	wrapped, created := make([][]byte, len(keys)), make([]time.Time, len(keys))
	destroyed := make([]*time.Time, len(keys))
	for i, k := range keys {
		wrapped[i], created[i], destroyed[i] = k.Wrapped, k.Created, k.Destroyed
	}
	_, err := tx.Exec(ctx, `INSERT INTO vault.keys AS k (id, wrapped, created_at, destroyed_at)
		SELECT * FROM unnest($1::text[], $2::bytea[], $3::timestamptz[], $4::timestamptz[])
		ON CONFLICT (id) DO UPDATE SET wrapped = NULL, destroyed_at = excluded.destroyed_at
		WHERE excluded.destroyed_at IS NOT NULL AND k.destroyed_at IS NULL`, ids, wrapped, created, destroyed)
	return err
}
