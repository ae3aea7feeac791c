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
	key, err = readMaster(path)
	switch {
	case err == nil || !errors.Is(err, fs.ErrNotExist):
		return key, false, err
	case !fresh:
		return nil, false, ErrMasterMissing
	}
	key, err = newMaster(path)
	return key, err == nil, err
}

// readMaster reads the master key in a file.
func readMaster(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the master key: %w", err)
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != eventlog.KeySize {
		return nil, ErrMasterForm
	}
	return key, nil
}

// newMaster makes a master key, and a file for it.
func newMaster(path string) ([]byte, error) {
	key := make([]byte, eventlog.KeySize)
	_, _ = rand.Read(key) // it cannot fail: crypto/rand ends the program instead
	if err := write(path, []byte(base64.StdEncoding.EncodeToString(key)+"\n")); err != nil {
		return nil, fmt.Errorf("write the master key: %w", err)
	}
	return key, nil
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
	return rename(path+".new", path)
}

// rename moves a file, and sees to it that it stays moved.
func rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(to))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Fresh says whether the vault behind pool holds nothing yet.
func Fresh(ctx context.Context, q Querier) (bool, error) {
	b := batch()
	fresh := false
	b.Queue(`SELECT NOT EXISTS (SELECT FROM vault.master)`).QueryRow(func(r pgx.Row) error {
		return r.Scan(&fresh)
	})
	return fresh, q.SendBatch(ctx, b).Close()
}

// Check holds a master key against the proof of the first, and changes nothing. Error: ErrMasterWrong.
func Check(ctx context.Context, q Querier, master []byte) error {
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
	// Where an earlier program made the vault, its names were made with the master key's own.
	wrapped := v.master.Seal(v.master.MACKey(), macAAD)
	b := batch()
	b.Queue(`INSERT INTO vault.master (proof, mac) VALUES ($1, $2) ON CONFLICT DO NOTHING`, mine, wrapped)
	b.Queue(`UPDATE vault.master SET mac = $2 WHERE proof = $1 AND mac IS NULL`, mine, wrapped)
	var stored, mac []byte
	b.Queue(`SELECT proof, mac FROM vault.master`).
		QueryRow(func(r pgx.Row) error { return r.Scan(&stored, &mac) })
	if err := v.pool.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("open the vault: %w", err)
	}
	if !hmac.Equal(mine, stored) {
		return ErrMasterWrong
	}
	raw, err := v.master.Open(mac, macAAD)
	if err != nil {
		return fmt.Errorf("unwrap the key of names: %w", err)
	}
	v.mac = raw
	return nil
}

// macAAD binds the key of names to its place.
var macAAD = []byte("mac")
