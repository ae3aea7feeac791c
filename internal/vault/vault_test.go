package vault

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/maypok86/otter/v2"

	"prelude/domain"
	"prelude/internal/eventlog"
)

func TestVault(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	v := r.open()
	if found := r.find(v, allKeys...); len(found) != 0 {
		t.Fatalf("an empty vault has %d keys", len(found))
	}
	r.ensure(v, allKeys...)
	mine := r.find(v, allKeys...)
	r.ensure(v, allKeys...)
	again, other := r.find(v, allKeys...), r.find(r.open(), allKeys...)
	for _, id := range allKeys {
		if !alike(mine[id], again[id]) || !alike(mine[id], other[id]) {
			t.Errorf("%s is not one key", id)
		}
	}
	for i, id := range allKeys {
		for _, o := range allKeys[i+1:] {
			if alike(mine[id], mine[o]) {
				t.Errorf("%s and %s are the same key", id, o)
			}
		}
	}
	if found := r.find(v, orgKey, "o.nobody"); len(found) != 1 {
		t.Errorf("%d keys were found of one that is there and one that is not", len(found))
	}
}

func TestKeys_are_wrapped_by_their_parents(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	v := r.open()
	r.ensure(v, sessionKey, authorKey, dayKey) // their parents are made on the way
	for id, by := range map[domain.KeyID]domain.KeyID{sessionKey: orgKey, authorKey: userKey, dayKey: userKey,
		orgKey: "", userKey: ""} {
		wrapping := v.master
		if by != "" {
			wrapping = r.unwrapped(v.master, by)
			if _, err := v.master.Open(r.stored(id), []byte(id)); err == nil {
				t.Errorf("the master key itself opens %s", id)
			}
		}
		if _, err := wrapping.Open(r.stored(id), []byte(id)); err != nil {
			t.Errorf("%s is not wrapped by %q: %v", id, by, err)
		}
		if _, err := wrapping.Open(r.stored(id), []byte("o.other")); err == nil {
			t.Errorf("%s can be taken for another key", id)
		}
	}
}

// unwrapped is a key that the master wraps, by hand.
func (r *rig) unwrapped(master *eventlog.Key, id domain.KeyID) *eventlog.Key {
	r.t.Helper()
	raw, err := master.Open(r.stored(id), []byte(id))
	if err != nil {
		r.t.Fatal(err)
	}
	key, err := eventlog.NewKey(raw)
	if err != nil {
		r.t.Fatal(err)
	}
	return key
}

func TestDestroyed_key_is_never_made_again(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.ensure(r.open(), allKeys...)
	r.destroy(sessionKey)
	r.destroy(userKey)
	v := r.open()
	if found := r.find(v, allKeys...); len(found) != 1 || found[orgKey] == nil {
		t.Errorf("found %d keys; a destroyed one, and those that it wraps, are gone", len(found))
	}
	for _, id := range []domain.KeyID{sessionKey, userKey, authorKey, domain.DayKey(acme, olga, "2026-03-02")} {
		var refused *domain.Error
		err := v.Ensure(t.Context(), id)
		if !errors.As(err, &refused) || refused.Kind != domain.Conflict || refused.Code != "erased" {
			t.Errorf("%s: %v", id, err)
		}
	}
	for _, id := range []domain.KeyID{sessionKey, userKey} {
		if r.stored(id) != nil {
			t.Errorf("%s was made again", id)
		}
	}
	r.ensure(v, orgKey, domain.SessionKey(acme, "ses_2"))
}

func TestEnsure_gives_racing_processes_one_key(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	vaults := []*Vault{r.open(), r.open()}
	for round := range 5 {
		s := domain.SessionID(fmt.Sprint("ses_", round))
		ids := []domain.KeyID{domain.SessionKey(acme, s), domain.AuthorKey(acme, s, olga)}
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				if err := vaults[i%2].Ensure(t.Context(), ids...); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		one, two, cold := r.find(vaults[0], ids...), r.find(vaults[1], ids...), r.find(r.open(), ids...)
		for _, id := range ids {
			if !alike(one[id], two[id]) || !alike(one[id], cold[id]) {
				t.Errorf("%s is two keys", id)
			}
		}
	}
}

func TestFind_asks_once_and_then_not_again(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.ensure(r.open(), allKeys...)
	v := r.open()
	for _, c := range []struct {
		ids  []domain.KeyID
		most int64
	}{{[]domain.KeyID{authorKey}, 1}, {allKeys, 1}, {allKeys, 0}, {[]domain.KeyID{"o.nobody", sessionKey}, 1}, {nil, 0}} {
		before := r.asked.Load()
		r.find(v, c.ids...)
		if n := r.asked.Load() - before; n > c.most {
			t.Errorf("%d statements for %v, want at most %d", n, c.ids, c.most)
		}
	}
}

// A key that the cache has dropped in the middle of a question is neither missing nor erased.
func TestKeys_are_there_however_small_the_cache_is(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	v := r.open()
	v.cache = otter.Must(&otter.Options[domain.KeyID, *eventlog.Key]{MaximumSize: 1})
	var ids []domain.KeyID
	for i := range 60 {
		org := domain.OrgID(fmt.Sprint("org_", i))
		ids = append(ids, domain.SessionKey(org, first), domain.AuthorKey(org, first, olga))
	}
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			mine := ids[i*len(ids)/4 : (i+1)*len(ids)/4]
			for range 3 {
				if err := v.Ensure(t.Context(), mine...); err != nil {
					t.Errorf("ensure: %v", err)
				}
				found, err := v.Find(t.Context(), mine...)
				if err != nil || len(found) != len(mine) {
					t.Errorf("found %d keys of %d: %v", len(found), len(mine), err)
				}
			}
		})
	}
	all.Wait()
}

func TestSchema_is_shut_to_the_roles_of_questions_and_projections(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.ensure(r.open(), orgKey)
	for _, role := range []string{"prelude_app", "prelude_proj", "prelude_login"} {
		for _, sql := range []string{"SELECT count(*) FROM vault.keys", "SELECT count(*) FROM vault.master",
			"UPDATE vault.keys SET wrapped = NULL", "DELETE FROM vault.keys"} {
			b := &pgx.Batch{}
			b.Queue("SELECT set_config('role', $1, true)", role)
			b.Queue(sql)
			var refused *pgconn.PgError
			err := r.pool.SendBatch(t.Context(), b).Close()
			if !errors.As(err, &refused) || refused.Code != "42501" {
				t.Errorf("%s: %s: %v", role, sql, err)
			}
		}
	}
	if len(r.stored(orgKey)) == 0 {
		t.Error("the key is gone")
	}
}
