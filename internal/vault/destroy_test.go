package vault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"prelude/domain"
)

const (
	mara   = domain.UserID("usr_2")
	second = domain.SessionID("ses_2")
	shared = domain.SessionID("ses_3")
)

// erasedRefusal expects that a key is never made again.
func (r *rig) erasedRefusal(v *Vault, ids ...domain.KeyID) {
	r.t.Helper()
	for _, id := range ids {
		if err := v.Ensure(r.t.Context(), id); !errors.Is(err, domain.ErrErased) {
			r.t.Errorf("%s: %v", id, err)
		}
	}
}

// has expects exactly these keys of all that are asked for.
func (r *rig) has(v *Vault, all, want []domain.KeyID) {
	r.t.Helper()
	found := r.find(v, all...)
	for _, id := range all {
		if (found[id] != nil) != slices.Contains(want, id) {
			r.t.Errorf("%s is there: %v", id, found[id] != nil)
		}
	}
}

func TestErase_takes_a_person_s_keys_and_those_of_their_sessions_alone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	v, other := r.open(), r.open()
	const globex = domain.OrgID("org_2")
	gone := []domain.KeyID{userKey, dayKey, authorKey, sessionKey, domain.SessionKey(acme, shared),
		domain.AuthorKey(acme, shared, olga)}
	stay := []domain.KeyID{orgKey, domain.UserKey(acme, mara), domain.AuthorKey(acme, second, mara),
		domain.SessionKey(acme, second), domain.AuthorKey(acme, shared, mara), domain.DayKey(acme, mara, "2026-03-01"),
		domain.AuthorKey(globex, first, olga), domain.SessionKey(globex, first), domain.UserKey(acme, "usr_11")}
	all := slices.Concat(gone, stay)
	r.ensure(v, all...)
	r.has(other, all, all)
	for range 2 { // again changes nothing
		if err := v.Erase(t.Context(), acme, olga); err != nil {
			t.Fatal(err)
		}
	}
	r.has(v, all, stay)
	r.has(r.open(), all, stay)
	r.has(other, all, all) // in memory still
	other.Forget()
	r.has(other, all, stay)
	r.erasedRefusal(v, append(gone, domain.DayKey(acme, olga, "2026-03-02"), domain.AuthorKey(acme, second, olga))...)
	for _, id := range gone {
		if r.stored(id) != nil {
			t.Errorf("%s lies there still", id)
		}
	}
}

func TestErase_marks_a_person_of_whom_the_vault_knows_nothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	v := r.open()
	if err := v.Erase(t.Context(), acme, olga); err != nil {
		t.Fatal(err)
	}
	r.erasedRefusal(v, userKey, authorKey, dayKey)
}

// A session that is started while its owner is erased must not leave a key that opens anything of theirs.
func TestErase_wins_over_keys_that_are_made_at_the_same_moment(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for round := range 15 {
		user := domain.UserID(fmt.Sprint("usr_r", round))
		makers := []*Vault{r.open(), r.open(), r.open()}
		r.ensure(makers[0], domain.UserKey(acme, user))
		var all sync.WaitGroup
		var made []domain.KeyID
		for i, m := range makers {
			r.find(m, domain.UserKey(acme, user), orgKey) // in memory, as of a process that knows of nothing
			for n := range 4 {
				s := domain.SessionID(fmt.Sprintf("ses_%d-%d-%d", round, i, n))
				ids := []domain.KeyID{domain.AuthorKey(acme, s, user), domain.SessionKey(acme, s)}
				made = append(made, ids...)
				all.Go(func() {
					if err := m.Ensure(t.Context(), ids...); err != nil && !errors.Is(err, domain.ErrErased) {
						t.Error(err)
					}
				})
			}
		}
		all.Go(func() {
			if err := r.open().Erase(t.Context(), acme, user); err != nil {
				t.Error(err)
			}
		})
		all.Wait()
		// A session's key may be left of a start that had made the author's before; nothing was sealed under it then.
		for id := range r.find(r.open(), made...) {
			if id[0] == 'a' {
				t.Errorf("%s is there", id)
			}
		}
	}
}

func TestFind_keeps_nothing_that_was_read_before_it_was_told_to_forget(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	v := r.open()
	r.ensure(v, allKeys...)
	var all sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					if _, err := v.Find(t.Context(), allKeys...); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	if err := r.open().Erase(t.Context(), acme, olga); err != nil {
		t.Fatal(err)
	}
	v.Forget()
	found := r.find(v, allKeys...)
	close(stop)
	all.Wait()
	if len(found) != 1 || len(r.find(v, allKeys...)) != 1 {
		t.Errorf("found %d keys, and then %d", len(found), len(r.find(v, allKeys...)))
	}
}

func TestVault_that_is_not_told_of_what_others_destroy_takes_nothing_from_memory(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	v := r.open()
	r.ensure(v, allKeys...)
	v.Watched = func() bool { return false }
	if err := r.open().Erase(t.Context(), acme, olga); err != nil {
		t.Fatal(err)
	}
	r.has(v, allKeys, []domain.KeyID{orgKey})
}

func TestExpire(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	v := r.open()
	gone := []domain.KeyID{sessionKey, authorKey, domain.AuthorKey(acme, first, mara)}
	stay := []domain.KeyID{orgKey, userKey, dayKey, domain.SessionKey(acme, second), domain.SessionKey(acme, "ses_11"),
		domain.AuthorKey(acme, second, olga), domain.AuthorKey(acme, "ses_11", olga)}
	all := slices.Concat(gone, stay)
	r.ensure(v, all...)
	sessions, err := v.Sessions(t.Context(), acme, "", 2)
	if err != nil || !slices.Equal(sessions, []domain.SessionID{first, "ses_11"}) {
		t.Errorf("the first sessions are %v: %v", sessions, err)
	}
	if err := v.Expire(t.Context(), acme, first); err != nil {
		t.Fatal(err)
	}
	r.has(v, all, stay)
	r.erasedRefusal(v, append(gone, domain.AuthorKey(acme, first, mara))...)
	sessions, err = v.Sessions(t.Context(), acme, "", 10)
	if err != nil || !slices.Equal(sessions, []domain.SessionID{"ses_11", second}) {
		t.Errorf("the sessions that are left are %v: %v", sessions, err)
	}
	if sessions, err = v.Sessions(t.Context(), acme, second, 10); err != nil || len(sessions) > 0 {
		t.Errorf("after the last there are %v: %v", sessions, err)
	}
}

func TestExpireDays_takes_the_days_before_one(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	v := r.open()
	gone := []domain.KeyID{domain.DayKey(acme, olga, "2025-12-31"), domain.DayKey(acme, mara, "2026-02-28")}
	stay := []domain.KeyID{dayKey, domain.DayKey("org_2", olga, "2025-12-31"), userKey}
	all := slices.Concat(gone, stay)
	r.ensure(v, all...)
	if err := v.ExpireDays(t.Context(), acme, "2026-03-01"); err != nil {
		t.Fatal(err)
	}
	r.has(v, all, stay)
}

func TestApplied_moves_on_alone_and_begins_again_for_another_log(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	v := r.open()
	for _, c := range []struct {
		log            string
		from, to, want uint64
	}{{"one", 0, 5, 5}, {"one", 5, 9, 9}, {"one", 5, 7, 9}, {"two", 0, 3, 3}, {"one", 0, 4, 4},
		{"one", 9, 12, 4},                    // it began before the vault was put back
		{"one", 4, 2, 2}, {"one", 4, 3, 2}} { // the log was put back, of which the last does not know yet
		err := v.NoteApplied(t.Context(), c.log, position(c.from), position(c.to))
		at, asked := Applied(t.Context(), v.pool, c.log)
		if err = errors.Join(err, asked); err != nil || at != position(c.want) {
			t.Errorf("after %+v it is %d: %v", c, at, err)
		}
	}
	if err := Unapply(t.Context(), v.pool); err != nil {
		t.Fatal(err)
	}
	if at, err := Applied(t.Context(), v.pool, "one"); err != nil || at != 0 {
		t.Errorf("where the whole log is to be gone through it is %d: %v", at, err)
	}
	if at, err := Applied(t.Context(), v.pool, "nobody's"); err != nil || at != 0 {
		t.Errorf("of a log that it does not know it is %d: %v", at, err)
	}
}

func TestUnknown_counts_neither_keys_nor_destroyed_ones(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	v := r.open()
	r.ensure(v, allKeys...)
	r.destroy(userKey)
	if n, err := Unknown(t.Context(), v.pool, append([]domain.KeyID{"u.1.9", "s.1.9"}, allKeys...)); err != nil || len(n) != 2 {
		t.Errorf("%v: %v", n, err)
	}
}

// A process that is killed while it destroys keys has destroyed all of them or none; the repeat destroys them.
func TestDestroying_that_is_cut_off_destroys_nothing(t *testing.T) {
	t.Parallel()
	anotherDay := domain.DayKey(acme, olga, "2026-02-01")
	for name, c := range map[string]struct {
		last    domain.KeyID // held by another, so that the destroying comes no further
		gone    []domain.KeyID
		destroy func(*Vault) error
	}{
		"a person's": {dayKey, []domain.KeyID{userKey, sessionKey, authorKey, anotherDay, dayKey},
			func(v *Vault) error { return v.Erase(t.Context(), acme, olga) }},
		"a session's": {authorKey, []domain.KeyID{sessionKey, authorKey},
			func(v *Vault) error { return v.Expire(t.Context(), acme, first) }},
		"of days": {dayKey, []domain.KeyID{anotherDay, dayKey},
			func(v *Vault) error { return v.ExpireDays(t.Context(), acme, "2026-03-02") }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			v := r.open()
			all := append(slices.Clone(allKeys), anotherDay)
			r.ensure(v, all...)
			r.cutOff(c.last, func() error { return c.destroy(v) })
			r.has(r.open(), all, all)
			r.has(v, all, all)
			if err := c.destroy(v); err != nil {
				t.Fatal(err)
			}
			stay := slices.DeleteFunc(slices.Clone(all), func(id domain.KeyID) bool { return slices.Contains(c.gone, id) })
			r.has(r.open(), all, stay)
			r.has(v, all, stay)
		})
	}
}

// cutOff holds a key's row while keys are destroyed, and ends the connection that waits for it.
func (r *rig) cutOff(held domain.KeyID, destroy func() error) {
	r.t.Helper()
	ctx := r.t.Context()
	holder, watcher := r.superuser(), r.superuser()
	tx, err := holder.Begin(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := tx.Exec(ctx, `SELECT FROM vault.keys WHERE id = $1 FOR UPDATE`, string(held)); err != nil {
		r.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- destroy() }()
	for cut := false; !cut; {
		err := watcher.QueryRow(ctx, `SELECT count(pg_terminate_backend(pid)) > 0 FROM pg_stat_activity
			WHERE datname = current_database() AND $1 = ANY (pg_blocking_pids(pid))`, holder.PgConn().PID()).Scan(&cut)
		if err != nil || !cut && len(ended) > 0 {
			r.t.Fatalf("nothing waited for the row: %v", err)
		}
	}
	if err := <-ended; err == nil {
		r.t.Fatal("it was not cut off")
	}
	if err := tx.Rollback(ctx); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) superuser() *pgx.Conn {
	r.t.Helper()
	conn, err := pgx.Connect(r.t.Context(), r.dsn)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}
