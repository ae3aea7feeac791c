// Package authn tells who sends a request: the person behind an API key. What the person may do is not
// decided here.
package authn

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"prelude/domain"
)

// Keys is the port to where API keys are looked up.
type Keys interface {
	// Credential finds an API key; domain.ErrNotFound: there is none.
	Credential(ctx context.Context, id domain.APIKeyID) (domain.Credential, error)
}

// ErrUnauthenticated: no key, or not one that is valid. Which of it, is not said.
var ErrUnauthenticated = errors.New("a valid API key is needed")

// ErrBehind: there is no such key, as far as is known, but not all is known yet that has happened.
var ErrBehind = errors.New("whether the API key is valid is not known yet")

// keep is how long a key is believed without asking again, while the live subscription tells of changes.
const keep = 5 * time.Minute

// patience is how long a stream waits to hear whether its key is still good.
const patience = 2 * time.Second

// Authenticator knows callers by their API keys.
type Authenticator struct {
	Keys Keys
	// CatchUp waits until the reader of rights has reached the log's end, for a key that was issued just now; false: it
	// has not.
	CatchUp func(ctx context.Context) bool
	Now     func() time.Time
	// Watched says that a revocation would be told at once; else nothing is believed without asking.
	Watched func() bool
	forgot  atomic.Uint64                           // how often all was forgotten
	revoked *otter.Cache[domain.APIKeyID, struct{}] // for as long as a look-up may be behind
	erased  *otter.Cache[domain.UserID, struct{}]   // the same
	cache   *otter.Cache[domain.APIKeyID, domain.Credential]
	mu      sync.Mutex
	open    map[domain.APIKeyID]map[uint64]context.CancelFunc // what lasts as long as its key
	opened  uint64
}

// New returns an authenticator over keys.
func New(keys Keys, catchUp func(context.Context) bool, watched func() bool) *Authenticator {
	return &Authenticator{Keys: keys, CatchUp: catchUp, Now: time.Now, Watched: watched,
		open: map[domain.APIKeyID]map[uint64]context.CancelFunc{},
		revoked: otter.Must(&otter.Options[domain.APIKeyID, struct{}]{MaximumSize: 100_000,
			ExpiryCalculator: otter.ExpiryWriting[domain.APIKeyID, struct{}](keep)}),
		erased: otter.Must(&otter.Options[domain.UserID, struct{}]{MaximumSize: 100_000,
			ExpiryCalculator: otter.ExpiryWriting[domain.UserID, struct{}](keep)}),
		cache: otter.Must(&otter.Options[domain.APIKeyID, domain.Credential]{MaximumSize: 100_000,
			ExpiryCalculator: otter.ExpiryWriting[domain.APIKeyID, domain.Credential](keep)})}
}

// Authenticate tells who sends an Authorization header.
func (a *Authenticator) Authenticate(ctx context.Context, header string) (domain.Principal, error) {
	id, secret, ok := split(header)
	if !ok {
		return domain.Principal{}, ErrUnauthenticated
	}
	c, err := a.standing(ctx, id)
	if err != nil {
		return domain.Principal{}, err
	}
	sum := sha256.Sum256([]byte(secret))
	if subtle.ConstantTimeCompare(sum[:], c.Hash) != 1 {
		return domain.Principal{}, ErrUnauthenticated
	}
	return c.Principal, nil
}

// standing finds a key that is neither revoked nor expired.
func (a *Authenticator) standing(ctx context.Context, id domain.APIKeyID) (domain.Credential, error) {
	c, err := a.credential(ctx, id)
	_, revoked := a.revoked.GetIfPresent(id)
	_, erased := a.erased.GetIfPresent(c.User)
	if errors.Is(err, domain.ErrNotFound) || revoked || erased {
		return c, ErrUnauthenticated
	}
	if err != nil {
		return c, err
	}
	if c.RevokedAt != nil || c.ExpiresAt != nil && !a.Now().Before(*c.ExpiresAt) {
		return c, ErrUnauthenticated
	}
	return c, nil
}

// Valid says whether a key that was taken is valid still. Where nobody can tell, it is.
func (a *Authenticator) Valid(ctx context.Context, id domain.APIKeyID) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err := a.standing(ctx, id)
	return !errors.Is(err, ErrUnauthenticated)
}

// split takes "Bearer prelude_<id>_<secret>" apart.
func split(header string) (id domain.APIKeyID, secret string, ok bool) {
	scheme, token, _ := strings.Cut(header, " ")
	rest, ours := strings.CutPrefix(strings.TrimSpace(token), "prelude_")
	bare, secret, both := strings.Cut(rest, "_")
	id = domain.APIKeyID(domain.APIKeyPrefix + bare)
	return id, secret, strings.EqualFold(scheme, "bearer") && ours && both &&
		domain.ValidID(domain.APIKeyPrefix, string(id))
}

func (a *Authenticator) credential(ctx context.Context, id domain.APIKeyID) (domain.Credential, error) {
	if c, ok := a.cache.GetIfPresent(id); ok && a.Watched() {
		return c, nil
	}
	forgot := a.forgot.Load()
	c, err := a.Keys.Credential(ctx, id)
	if errors.Is(err, domain.ErrNotFound) && a.CatchUp != nil {
		if caughtUp := a.CatchUp(ctx); !caughtUp {
			return c, ErrBehind
		}
		c, err = a.Keys.Credential(ctx, id)
	}
	if err == nil {
		a.cache.Set(id, c)
		if a.forgot.Load() != forgot {
			a.cache.Invalidate(id) // it was looked up before something changed
		}
	}
	return c, err
}

// Revoke refuses a key from now on, also where the database does not know yet, and ends what is open under it.
func (a *Authenticator) Revoke(id domain.APIKeyID) {
	a.revoked.Set(id, struct{}{})
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, end := range a.open[id] {
		end()
	}
}

// Erase refuses all keys of a person from now on, also where the database does not know yet, and ends what is open
// under those that it knows to be theirs; the rest ends when it is next asked whether its key is valid.
func (a *Authenticator) Erase(user domain.UserID) {
	a.erased.Set(user, struct{}{})
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, open := range a.open {
		if c, ok := a.cache.GetIfPresent(id); !ok || c.User != user {
			continue
		}
		for _, end := range open {
			end()
		}
	}
}

// While gives a context that also ends when the key is revoked. It is kept until the function is called.
func (a *Authenticator) While(ctx context.Context, id domain.APIKeyID) (context.Context, context.CancelFunc) {
	ctx, end := context.WithCancel(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.opened++
	n := a.opened
	if a.open[id] == nil {
		a.open[id] = map[uint64]context.CancelFunc{}
	}
	a.open[id][n] = end
	if _, revoked := a.revoked.GetIfPresent(id); revoked {
		end()
	}
	return ctx, func() {
		end()
		a.mu.Lock()
		defer a.mu.Unlock()
		if delete(a.open[id], n); len(a.open[id]) == 0 {
			delete(a.open, id)
		}
	}
}

// Forget drops all that is believed: a key, or a role, has changed, or changes may have been missed.
func (a *Authenticator) Forget() {
	a.forgot.Add(1)
	a.cache.InvalidateAll()
}
