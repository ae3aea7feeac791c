package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"prelude/internal/newfile"
	"prelude/internal/pgserver/pgtest"
	"prelude/internal/vault"
)

func (r *rig) masterKey(t *testing.T) []byte {
	t.Helper()
	key, err := os.ReadFile(filepath.Join(r.data, "master.key"))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// does runs a command on the rig's data and expects it to print texts.
func (r *rig) does(t *testing.T, args []string, says ...string) {
	t.Helper()
	out, err := r.on(t).command(args...)
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	contains(t, out, says...)
}

// doesNot runs a command on the rig's data and expects it to refuse.
func (r *rig) doesNot(t *testing.T, want error, args ...string) {
	t.Helper()
	if out, err := r.on(t).command(args...); !errors.Is(err, want) {
		t.Errorf("%v: %v\n%s", args, err, out)
	}
}

// TestVaultBackup: a backup is made while a server runs, is its owner's alone, and is never written over a file.
func TestVaultBackup(t *testing.T) {
	t.Parallel()
	r := start(t)
	session := r.session()
	r.do("POST", "/v1/sessions/"+session+"/messages", doc{"content": "Keep this"}).want(201)
	path := filepath.Join(t.TempDir(), "vault")
	r.does(t, []string{"vault", "backup", path}, " keys, for the log up to position ", "the master key is not in it")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v: %v", info.Mode(), err)
	}
	r.doesNot(t, newfile.ErrTaken, "vault", "backup", path)
	r.doesNot(t, r.errTaken(), "vault", "restore", path)
	if files, err := os.ReadDir(filepath.Dir(path)); err != nil || len(files) != 1 {
		t.Errorf("%d files lie there: %v", len(files), err)
	}
	r.stop()
	t.Run("and put back into an empty database", func(t *testing.T) {
		n := *r.on(t)
		n.dsn = pgtest.Database(t)
		out, err := n.doctorHere()
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		n.doesNot(t, errNoVault, "serve", "--listen", "127.0.0.1:0") // an empty vault beside a log that is not
		right := r.masterKey(t)
		wrong := filepath.Join(n.data, "master.key")
		if err := os.WriteFile(wrong, []byte(base64.StdEncoding.EncodeToString(make([]byte, 32))), 0o600); err != nil {
			t.Fatal(err)
		}
		n.doesNot(t, errNoVault, "serve", "--listen", "127.0.0.1:0") // which would bind the vault to it
		if err := os.WriteFile(wrong, right, 0o600); err != nil {
			t.Fatal(err)
		}
		n.does(t, []string{"vault", "give-up"}, "are lacking", "nothing was changed")
		n.doesNot(t, errNoVault, "serve", "--listen", "127.0.0.1:0")
		n.does(t, []string{"vault", "give-up", "--yes"}, "were lacking, and are marked as destroyed")
		n.does(t, []string{"vault", "give-up", "--yes"}, "0 of the ")
		n.serve()
		d := n.do("GET", "/v1/sessions/"+session+"/messages", nil).want(200).list("data")
		if len(d) != 2 || d[0].at("content") != nil || d[0].str("withheld") != "erased" {
			t.Errorf("without the keys there is %v", d)
		}
		n.stop()
		n.dsn = pgtest.Database(t)
		n.does(t, []string{"vault", "restore", path}, " keys of the log up to position ", "0 users whom the log says")
		n.serve()
		d = n.do("GET", "/v1/sessions/"+session+"/messages", nil).want(200).list("data")
		if len(d) != 2 || d[0].str("content") != "Keep this" {
			t.Errorf("with them there is %v", d)
		}
		if out, err = n.doctorHere(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		contains(t, out, "keys that the log names")
	})
	t.Run("that is older than the log is not served", func(t *testing.T) {
		n := *r.on(t)
		n.dsn = pgtest.Database(t)
		n.does(t, []string{"vault", "restore", path})
		n.serve()
		later := n.session()
		n.do("POST", "/v1/sessions/"+later+"/messages", doc{"content": "Keep this too"}).want(201)
		n.stop()
		newer := filepath.Join(t.TempDir(), "newer")
		n.does(t, []string{"vault", "backup", newer})
		n.dsn = pgtest.Database(t)
		n.does(t, []string{"vault", "restore", path})
		if out, err := n.doctorHere(); n.away != "" {
			contains(t, out, "the vault is older than the log", "prelude vault restore")
		} else if contains(t, out, "was not held against the log"); err != nil { // the log is a server's, which does not run
			t.Errorf("%v\n%s", err, out)
		}
		for range 2 { // the first time changes nothing
			n.doesNot(t, errOlderVault, "serve", "--listen", "127.0.0.1:0")
			n.doesNot(t, errOlderVault, "org", "policy", "default")
			n.doesNot(t, errOlderVault, "vault", "rotate") // the newer backup would be of another master key then
			n.doesNot(t, errOlderVault, "vault", "backup", filepath.Join(t.TempDir(), "lacking"))
		}
		n.does(t, []string{"vault", "restore", newer})
		n.serve()
		d := n.do("GET", "/v1/sessions/"+later+"/messages", nil).want(200).list("data")
		if len(d) != 2 || d[0].str("content") != "Keep this too" {
			t.Errorf("with the newer keys there is %v", d)
		}
		n.stop()
	})
	t.Run("of another installation is refused", func(t *testing.T) {
		other := start(t)
		other.stop()
		other.doesNot(t, vault.ErrOtherMaster, "vault", "restore", path)
		if err := os.WriteFile(filepath.Join(other.data, "master.key"), r.masterKey(t), 0o600); err != nil {
			t.Fatal(err)
		}
		other.doesNot(t, vault.ErrOtherLog, "vault", "restore", path)
	})
	t.Run("without a log there is nothing to back up", func(t *testing.T) {
		n := &rig{t: t, data: t.TempDir(), dsn: pgtest.Database(t)}
		n.doesNot(t, errNoLog, "vault", "backup", filepath.Join(n.data, "vault"))
	})
}

// doctorHere examines the rig's data and its database.
func (r *rig) doctorHere() (string, error) { return r.doctor("--database-url", r.dsn) }

// TestVaultRotate: what was written under the old key is read under the new one, and names stay taken.
func TestVaultRotate(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.doesNot(t, r.errTaken(), "vault", "rotate") // whoever serves would go on with the old key
	session := r.session()
	r.do("POST", "/v1/sessions/"+session+"/messages", doc{"content": "Keep this"}).want(201)
	r.member("ann", "member")
	r.stop()
	old := r.masterKey(t)
	older := filepath.Join(t.TempDir(), "older")
	r.does(t, []string{"vault", "backup", older})
	r.does(t, []string{"vault", "rotate"}, "is a new one", "back up the file")
	fresh := r.masterKey(t)
	if bytes.Equal(old, fresh) {
		t.Fatal("it is the old key")
	}
	r.reads(t, session)
	path := filepath.Join(r.data, "master.key")
	put := func(t *testing.T, path string, key []byte) {
		t.Helper()
		if err := os.WriteFile(path, key, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("the old key is refused", func(t *testing.T) {
		put(t, path, old)
		r.on(t).refusesToStart("not the one that this vault was made with", "nothing was changed")
		out, err := r.doctorHere()
		if err == nil {
			t.Errorf("the doctor finds nothing:\n%s", out)
		}
		if !bytes.Equal(old, r.masterKey(t)) {
			t.Error("the file was changed")
		}
	})
	t.Run("one that was cut off before the new key was in its place is ended by the next start", func(t *testing.T) {
		put(t, path+".next", fresh)
		out, err := r.doctorHere()
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		contains(t, out, vault.Completed)
		if !bytes.Equal(old, r.masterKey(t)) {
			t.Error("the doctor changed the file")
		}
		r.reads(t, session, vault.Completed)
		if _, err := os.Stat(path + ".next"); !os.IsNotExist(err) || !bytes.Equal(fresh, r.masterKey(t)) {
			t.Errorf("the new key is not in its place: %v", err)
		}
	})
	t.Run("a backup of before opens with the key of its time", func(t *testing.T) {
		n := *r.on(t)
		n.doesNot(t, vault.ErrOtherMaster, "vault", "restore", older)
		n.dsn = pgtest.Database(t)
		n.doesNot(t, vault.ErrOtherMaster, "vault", "restore", older)
		key := filepath.Join(t.TempDir(), "old.key")
		put(t, key, old)
		n.does(t, []string{"vault", "restore", older, "--master-key-file", key}, "0 users whom the log says")
		n.does(t, []string{"vault", "give-up", "--yes", "--master-key-file", key}, "0 of the ")
		n.does(t, []string{"vault", "rotate", "--master-key-file", key}, "is a new one")
		put(t, key+".old", old)
		n.doesNot(t, vault.ErrMasterWrong, "vault", "restore", older, "--master-key-file", key+".old")
	})
	t.Run("one that was cut off before the vault had changed is as if it had not been", func(t *testing.T) {
		put(t, path+".next", []byte("QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=\n"))
		r.reads(t, session, vault.Abandoned)
		r.does(t, []string{"vault", "rotate"}, "is a new one")
		if got := string(r.masterKey(t)); !strings.HasPrefix(got, "QUFB") {
			t.Errorf("it did not go on with the key that lay there: %s", got)
		}
		r.reads(t, session)
	})
}

// reads starts, expects what was written before to be there, and names to be taken, and stops.
func (r *rig) reads(t *testing.T, session string, logged ...string) {
	t.Helper()
	c := *r.on(t)
	c.serve()
	contains(t, c.logs.String(), logged...)
	d := c.do("GET", "/v1/sessions/"+session+"/messages", nil).want(200).list("data")
	if len(d) < 2 || d[0].str("content") != "Keep this" {
		t.Errorf("it reads %v", d)
	}
	c.do("POST", "/v1/users", doc{"handle": "ann", "name": "Another", "role": "member"}).refused(409, "slug_taken")
	c.do("POST", "/v1/sessions/"+session+"/messages", doc{"content": "More"}).want(201)
	c.stop()
}

// TestEraseCutOff: an erasure that is in the log, and not in the vault, is applied by the next start.
func TestEraseCutOff(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.erasingPreset()
	ann := r.writer("ann")
	conn, err := pgx.Connect(t.Context(), r.dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	sql := func(statement string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	sql(`CREATE FUNCTION vault.stop() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''cut off''; END';
		CREATE TRIGGER stop BEFORE UPDATE ON vault.keys FOR EACH ROW EXECUTE FUNCTION vault.stop()`)
	if a := r.erase(ann.id); a.Status != 500 || strings.Contains(string(a.Body), "cut off") {
		t.Errorf("it answers %d: %s", a.Status, a.Body)
	}
	r.stop()
	living := func() (n int) {
		t.Helper()
		err := conn.QueryRow(t.Context(), `SELECT count(*) FROM vault.keys WHERE destroyed_at IS NULL AND id LIKE '%'||$1||'%'`,
			strings.TrimPrefix(ann.id, "usr_")).Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if living() == 0 {
		t.Fatal("the keys were destroyed all the same")
	}
	sql(`DROP TRIGGER stop ON vault.keys`)
	r.serve()
	if n := living(); n > 0 {
		t.Errorf("%d keys are left", n)
	}
	contains(t, r.logs.String(), "erasures were applied to the vault")
	ann.url = r.url
	ann.do("GET", "/v1/me", nil).refused(401, "unauthenticated")
	if again := r.erase(ann.id).want(202); again.str("withheld") != "erased" {
		t.Errorf("a repeat answers %v", again)
	}
}
