package vault

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"time"

	"github.com/jackc/pgx/v5"

	"prelude/domain"
	"prelude/internal/eventlog"
	"prelude/internal/newfile"
)

// backupFormat is the first field of every backup. Another format gets another number.
const backupFormat = "prelude vault backup 1"

// Head is the first line of a backup.
type Head struct {
	Format   string            `json:"format"`
	Log      string            `json:"log"`      // the id of the log whose texts the keys open
	Position eventlog.Position `json:"position"` // of the log: all keys of what stands before it are here
	At       time.Time         `json:"at"`
	Proof    []byte            `json:"proof"` // by what the master key is known
	MAC      []byte            `json:"mac"`   // the key of names, wrapped
}

// kept is a key as a line of a backup has it.
type kept struct {
	ID        domain.KeyID `json:"id"`
	Wrapped   []byte       `json:"wrapped,omitempty"`
	Created   time.Time    `json:"created_at"`
	Destroyed *time.Time   `json:"destroyed_at,omitempty"`
}

// tail is the last line: how many keys there are, and the HMAC under the master key of all before it.
type tail struct {
	Keys int    `json:"keys"`
	HMAC []byte `json:"hmac"`
}

// Backup writes all keys, as they are at one moment and wrapped as they are, to a new file. The log must have stood
// at a position before that moment, for keys are made before what they seal. The file appears whole or not at all,
// and is its owner's alone. It says how many keys there are. Errors: [newfile.ErrTaken], [newfile.ErrPartial].
func (v *Vault) Backup(ctx context.Context, path, logID string, at eventlog.Position) (keys int, err error) {
	err = newfile.Make(path, func(partial string) error {
		f, err := os.OpenFile(partial, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		keys, err = v.writeTo(ctx, f, Head{Format: backupFormat, Log: logID, Position: at, At: time.Now().UTC()})
		return errors.Join(err, f.Close())
	})
	if err != nil {
		return 0, fmt.Errorf("write the backup: %w", err)
	}
	return keys, nil
}

func (v *Vault) writeTo(ctx context.Context, to io.Writer, head Head) (keys int, err error) {
	w := newSealer(to, v.master)
	snapshot := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err = v.within(ctx, snapshot, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `SELECT proof, mac FROM vault.master`).Scan(&head.Proof, &head.MAC)
		if err == nil {
			err = w.line(head)
		}
		if err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `SELECT id, wrapped, created_at, destroyed_at FROM vault.keys ORDER BY id`)
		if err != nil {
			return err
		}
		var k kept
		_, err = pgx.ForEachRow(rows, []any{&k.ID, &k.Wrapped, &k.Created, &k.Destroyed}, func() error {
			keys++
			return w.line(k)
		})
		return err
	})
	if err != nil {
		return 0, err
	}
	return keys, w.end(keys)
}

// sealer writes lines and makes the HMAC of them.
type sealer struct {
	out *bufio.Writer
	mac hash.Hash
}

func newSealer(to io.Writer, master *eventlog.Key) *sealer {
	return &sealer{out: bufio.NewWriter(to), mac: master.MACKey().Hash("backup")}
}

func (s *sealer) line(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	s.mac.Write(line)
	_, err = s.out.Write(line)
	return err
}

// end writes the last line, which the HMAC in it does not cover.
func (s *sealer) end(keys int) error {
	line, err := json.Marshal(tail{Keys: keys, HMAC: s.mac.Sum(nil)})
	if err == nil {
		_, err = s.out.Write(append(line, '\n'))
	}
	return errors.Join(err, s.out.Flush())
}
