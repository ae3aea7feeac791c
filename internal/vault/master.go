package vault

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"

	"prelude/internal/eventlog"
)

// What can be wrong with a master key. Each says what to do.
var (
	ErrMasterMissing = errors.New("the master key file is missing, and the vault holds keys that only it opens: " +
		"put the file back from your backup, or name it with PRELUDE_MASTER_KEY_FILE; nothing was changed")
	ErrMasterWrong = errors.New("the master key is not the one that this vault was made with: " +
		"put the right file back from your backup, or name it with PRELUDE_MASTER_KEY_FILE; nothing was changed")
	ErrMasterForm = errors.New("the master key file does not hold 32 bytes in base64")
)

// MasterKey reads the master key from a file. Without the file it makes one, if fresh says that nothing
// was sealed yet; made says so. The file is the owner's alone (0600).
func MasterKey(path string, fresh bool) (key []byte, made bool, err error) {
	text, err := os.ReadFile(path)
	switch {
	case err == nil:
		key, err = base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
		if err != nil || len(key) != eventlog.KeySize {
			return nil, false, ErrMasterForm
		}
		return key, false, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, false, fmt.Errorf("read the master key: %w", err)
	case !fresh:
		return nil, false, ErrMasterMissing
	}
	key = make([]byte, eventlog.KeySize)
	_, _ = rand.Read(key) // it cannot fail: crypto/rand ends the program instead
	if err := write(path, []byte(base64.StdEncoding.EncodeToString(key)+"\n")); err != nil {
		return nil, false, fmt.Errorf("write the master key: %w", err)
	}
	return key, true, nil
}

// write puts a file there whole and on the disk, or not at all.
func write(path string, text []byte) error {
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Fresh says whether the vault behind pool holds nothing yet.
func Fresh(ctx context.Context, q interface {
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}) (bool, error) {
	b := batch()
	fresh := false
	b.Queue(`SELECT NOT EXISTS (SELECT FROM vault.master)`).QueryRow(func(r pgx.Row) error {
		return r.Scan(&fresh)
	})
	return fresh, q.SendBatch(ctx, b).Close()
}

// Check holds a master key against the proof of the first, and changes nothing. Error: ErrMasterWrong.
func Check(ctx context.Context, q interface {
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}, master []byte) error {
	key, err := eventlog.NewKey(master)
	if err != nil {
		return fmt.Errorf("master key: %w", err)
	}
	b := batch()
	var stored []byte
	b.Queue(`SELECT proof FROM vault.master`).QueryRow(func(r pgx.Row) error { return r.Scan(&stored) })
	if err := q.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("look at the vault: %w", err)
	}
	if !hmac.Equal(proof(key), stored) {
		return ErrMasterWrong
	}
	return nil
}

// proof is by what a master key is known.
func proof(master *eventlog.Key) []byte { return master.MAC("master", []byte("prelude")) }

// prove keeps a proof of the first master key, and holds later ones against it.
func (v *Vault) prove(ctx context.Context) error {
	mine := proof(v.master)
	b := batch()
	b.Queue(`INSERT INTO vault.master (proof) VALUES ($1) ON CONFLICT DO NOTHING`, mine)
	var stored []byte
	b.Queue(`SELECT proof FROM vault.master`).QueryRow(func(r pgx.Row) error { return r.Scan(&stored) })
	if err := v.pool.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("open the vault: %w", err)
	}
	if !hmac.Equal(mine, stored) {
		return ErrMasterWrong
	}
	return nil
}
