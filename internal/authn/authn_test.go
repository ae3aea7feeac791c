package authn

import (
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"prelude/domain"
)

// book is where keys are looked up; it counts how often.
type book struct {
	keys  map[domain.APIKeyID]domain.Credential
	asked int
	fault error
	while func() // what happens during the look-up
}

func (b *book) Credential(_ context.Context, id domain.APIKeyID) (domain.Credential, error) {
	b.asked++
	c, ok := b.keys[id]
	if b.while != nil {
		b.while()
	}
	switch {
	case b.fault != nil:
		return domain.Credential{}, b.fault
	case !ok:
		return domain.Credential{}, domain.ErrNotFound
	}
	return c, nil
}

const secret = "s3cret"

var (
	keyID = domain.APIKeyID(domain.EncodeID(domain.APIKeyPrefix, uuid.NewSHA1(uuid.Nil, []byte("1"))))
	token = "prelude_" + domain.Bare(keyID) + "_" + secret
	noon  = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	olga  = domain.Principal{Org: "org_1", User: "usr_1", Key: keyID, Role: domain.Member}
)

// rig is an authenticator over one key, at noon, with the live subscription up.
type rig struct {
	*Authenticator
	t       *testing.T
	book    *book
	watched bool
}

func newRig(t *testing.T, change ...func(*domain.Credential)) *rig {
	sum := sha256.Sum256([]byte(secret))
	c := domain.Credential{Principal: olga, Hash: sum[:]}
	for _, f := range change {
		f(&c)
	}
	r := &rig{t: t, watched: true, book: &book{keys: map[domain.APIKeyID]domain.Credential{keyID: c}}}
	r.Authenticator = New(r.book, nil, func() bool { return r.watched })
	r.Now = func() time.Time { return noon }
	return r
}

func (r *rig) accepts() {
	r.t.Helper()
	if who, err := r.Authenticate(r.t.Context(), "Bearer "+token); err != nil || who != olga {
		r.t.Errorf("got %+v: %v", who, err)
	}
}

func (r *rig) refuses(header string) {
	r.t.Helper()
	who, err := r.Authenticate(r.t.Context(), header)
	if !errors.Is(err, ErrUnauthenticated) || who != (domain.Principal{}) {
		r.t.Errorf("%q: got %+v: %v", header, who, err)
	}
}

func (r *rig) asked(want int) {
	r.t.Helper()
	if r.book.asked != want {
		r.t.Errorf("asked %d times, want %d", r.book.asked, want)
	}
}

func TestAuthenticate_knows_a_key_by_its_secret(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.accepts()
	for _, scheme := range []string{"bearer ", "BEARER ", "Bearer  "} {
		if _, err := r.Authenticate(t.Context(), scheme+token); err != nil {
			t.Errorf("%q: %v", scheme, err)
		}
	}
	for _, wrong := range []string{"", "S3cret", secret + "x", secret[1:], "s3cret_"} {
		r.refuses("Bearer prelude_" + domain.Bare(keyID) + "_" + wrong)
	}
}

func TestAuthenticate_asks_nothing_about_what_is_malformed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	bare := domain.Bare(keyID)
	for _, header := range []string{
		"", "Bearer", "Bearer ", token, "Basic " + token, "Bearer sk_" + bare + "_" + secret,
		"Bearer prelude_" + bare, "Bearer prelude__" + secret, "Bearer prelude_" + bare[1:] + "_" + secret,
		"Bearer prelude_" + strings.ToUpper(bare) + "_" + secret, "Bearer prelude_" + string(keyID) + "_" + secret,
		"Bearer prelude_" + strings.Repeat("z", 26) + "_" + secret, "Bearer " + strings.Repeat("x", 1<<20),
		"Bearer prelude_" + bare[:25] + "\x00_" + secret,
	} {
		r.refuses(header)
	}
	r.asked(0)
}

func TestAuthenticate_refuses_what_is_not_valid_any_more(t *testing.T) {
	t.Parallel()
	at := noon
	t.Run("an expired key, from that moment on", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, func(c *domain.Credential) { c.ExpiresAt = &at })
		now := noon.Add(-time.Millisecond)
		r.Now = func() time.Time { return now }
		r.accepts()
		now = noon
		r.refuses("Bearer " + token) // though it is cached
		now = noon.Add(time.Hour)
		r.refuses("Bearer " + token)
	})
	t.Run("a revoked key", func(t *testing.T) {
		t.Parallel()
		newRig(t, func(c *domain.Credential) { c.RevokedAt = &at }).refuses("Bearer " + token)
	})
	t.Run("a key without a hash", func(t *testing.T) {
		t.Parallel()
		newRig(t, func(c *domain.Credential) { c.Hash = nil }).refuses("Bearer " + token)
	})
}

func TestAuthenticate_tells_a_fault_from_a_refusal(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.book.fault = errors.New("the database does not answer")
	if _, err := r.Authenticate(t.Context(), "Bearer "+token); !errors.Is(err, r.book.fault) {
		t.Errorf("got %v", err)
	}
	r.book.fault = nil
	r.accepts() // a fault is not remembered
}

func TestCache(t *testing.T) {
	t.Parallel()
	t.Run("is believed while the live subscription is up", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		r.accepts()
		r.accepts()
		r.asked(1)
	})
	t.Run("is not believed while it is down", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		r.accepts()
		r.watched = false
		r.accepts()
		r.asked(2)
		delete(r.book.keys, keyID)
		r.refuses("Bearer " + token)
	})
	t.Run("is forgotten when something has changed", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		r.accepts()
		delete(r.book.keys, keyID)
		r.accepts()
		r.Forget()
		r.refuses("Bearer " + token)
	})
	t.Run("keeps nothing that changed while it was looked up", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		r.book.while = r.Forget
		r.accepts() // it was valid when it was looked up
		delete(r.book.keys, keyID)
		r.refuses("Bearer " + token)
	})
	t.Run("keeps no key that is not there", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		c := r.book.keys[keyID]
		delete(r.book.keys, keyID)
		r.refuses("Bearer " + token)
		r.book.keys[keyID] = c
		r.accepts()
	})
}

func TestRevoke_refuses_a_key_at_once_though_the_database_does_not_know_yet(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.accepts()
	r.Revoke(keyID)
	r.refuses("Bearer " + token)
	r.Forget()
	r.refuses("Bearer " + token)
	newRig(t).accepts() // another process asks the database
}

func TestKey_that_was_issued_just_now_is_looked_for_once_more(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.book.keys[keyID]
	delete(r.book.keys, keyID)
	waited := 0
	caughtUp := false
	r.CatchUp = func(context.Context) bool {
		waited++
		if caughtUp {
			r.book.keys[keyID] = c
		}
		return caughtUp
	}
	// Where not all is known yet, it is not said that the key is wrong.
	if _, err := r.Authenticate(t.Context(), "Bearer "+token); !errors.Is(err, ErrBehind) {
		t.Errorf("before it has caught up: %v", err)
	}
	if !r.Valid(t.Context(), keyID) {
		t.Error("a stream under it is ended")
	}
	caughtUp, waited, r.book.asked = true, 0, 0
	r.accepts()
	r.accepts()
	if waited != 1 {
		t.Errorf("waited %d times", waited)
	}
	r.asked(2)
}

func TestWhile_ends_with_the_key(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	one, done := r.While(t.Context(), keyID)
	two, left := r.While(t.Context(), keyID)
	other, another := r.While(t.Context(), "key_other")
	defer another()
	left()
	if one.Err() != nil || two.Err() == nil {
		t.Error("who leaves ends what others have")
	}
	r.Revoke(keyID)
	<-one.Done()
	late, over := r.While(t.Context(), keyID)
	<-late.Done()
	if other.Err() != nil {
		t.Error("another key has ended")
	}
	done()
	over()
	if len(r.open) != 1 {
		t.Errorf("%d keys are kept", len(r.open))
	}
}

func TestValid(t *testing.T) {
	t.Parallel()
	at := noon.Add(time.Second)
	r := newRig(t, func(c *domain.Credential) { c.ExpiresAt = &at })
	now := noon
	r.Now = func() time.Time { return now }
	valid := func(want bool) {
		t.Helper()
		if got := r.Valid(t.Context(), keyID); got != want {
			t.Errorf("it is valid: %v", got)
		}
	}
	valid(true)
	now = at
	valid(false)
	now = noon
	r.watched, r.book.fault = false, errors.New("the database does not answer")
	valid(true) // nobody can tell
	r.book.fault = nil
	c := r.book.keys[keyID]
	c.RevokedAt = &noon
	r.book.keys[keyID] = c
	valid(false) // though nobody told
	c.RevokedAt = nil
	r.book.keys[keyID] = c
	valid(true)
	r.Revoke(keyID)
	valid(false)
}
