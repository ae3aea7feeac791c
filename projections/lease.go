package projections

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// A lease is held for a while and renewed well before its end. Who has none looks again and again: after a kill
// another takes over within the lease and one look, after a clean stop within one look.
const (
	leaseFor   = 6 * time.Second
	renewEvery = 2 * time.Second
	lookEvery  = 500 * time.Millisecond
	// releaseFor is how long a stop may take to give a lease back.
	releaseFor = 300 * time.Millisecond
)

// errLeaseLost: another has taken the lease, because this instance did not renew it in time.
var errLeaseLost = errors.New("the lease was taken by another instance")

// hold waits for the reader's lease and works while this instance has it. The lease only saves double work: who goes
// on after losing it is stopped by the fence.
func (e *Engine) hold(ctx context.Context, r Reader, work func(context.Context) error) error {
	if e.Owner == "" {
		return work(ctx)
	}
	if err := e.await(ctx, r); err != nil {
		return err
	}
	held, cancel := context.WithCancelCause(ctx)
	renewing := make(chan struct{})
	go func() {
		defer close(renewing)
		e.renew(held, r, cancel)
	}()
	err := work(held)
	if errors.Is(context.Cause(held), errLeaseLost) {
		err = errLeaseLost
	}
	cancel(nil)
	<-renewing
	return errors.Join(err, e.release(ctx, r))
}

// await looks for the lease until this instance has it.
func (e *Engine) await(ctx context.Context, r Reader) error {
	for waited := false; ; waited = true {
		mine, err := e.take(ctx, r)
		if err != nil {
			return fmt.Errorf("take the lease: %w", err)
		}
		if mine {
			if waited {
				e.Logger.Info("a reader is taken over", "reader", r.Name)
			}
			return nil
		}
		select {
		case <-time.After(lookEvery/2 + rand.N(lookEvery)): //nolint:gosec // a pause, not a secret
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// take takes the lease if it is free, has run out, or is this instance's from before. It looks first: a statement that
// would write makes the row's next writer wait.
func (e *Engine) take(ctx context.Context, r Reader) (mine bool, err error) {
	err = e.inTx(ctx, r, func(tx pgx.Tx) error {
		var held bool
		err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM prelude.leases
			WHERE reader = $1 AND version = $2 AND owner <> $3 AND expires > now())`,
			r.Name, r.Version, e.Owner).Scan(&held)
		if err != nil || held {
			return err
		}
		tag, err := tx.Exec(ctx, `INSERT INTO prelude.leases AS l (reader, version, owner, expires)
			VALUES ($1, $2, $3, now() + $4::interval) ON CONFLICT (reader, version) DO UPDATE
			SET owner = excluded.owner, expires = excluded.expires
			WHERE l.owner = excluded.owner OR l.expires < now()`, r.Name, r.Version, e.Owner, leaseFor)
		mine = err == nil && tag.RowsAffected() == 1
		return err
	})
	return mine, err
}

// stuckAfter is how long a batch may take until its owner does not renew the lease any more: whoever hangs in one will
// not end it. With the lease and a look that is below the ten seconds within which another has taken over. A batch of
// batchSize events takes a fraction of it; one that takes longer still has what is left of the lease, and is not ended
// when that has run out: it holds the checkpoint's row, so it commits, and whoever took over goes on behind it.
const stuckAfter = 2 * time.Second

// batches knows since when each reader is at its batch.
type batches struct {
	mu    sync.Mutex
	since map[string]time.Time
	most  time.Duration // 0: stuckAfter
}

// begin notes the beginning of a batch, and with what it returns, the end.
func (b *batches) begin(reader string) (end func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.since == nil {
		b.since = map[string]time.Time{}
	}
	b.since[reader] = time.Now()
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.since, reader)
	}
}

func (b *batches) stuck(reader string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	since, at := b.since[reader]
	return at && time.Since(since) > cmp.Or(b.most, stuckAfter)
}

// renew renews the lease until the context ends, or another has it. A database that does not answer ends nothing
// here: the reader's own statements meet it too. Nor does a lease that ran out within a long batch end that batch:
// if each owner were ended so, and each needed as long, none would ever come on.
func (e *Engine) renew(ctx context.Context, r Reader, lost context.CancelCauseFunc) {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if e.batches.stuck(r.Name) {
			continue
		}
		var mine int64
		err := e.inTx(ctx, r, func(tx pgx.Tx) error {
			tag, err := tx.Exec(ctx, `UPDATE prelude.leases SET expires = now() + $4::interval
				WHERE reader = $1 AND version = $2 AND owner = $3`, r.Name, r.Version, e.Owner, leaseFor)
			mine = tag.RowsAffected()
			return err
		})
		if err == nil && mine == 0 {
			lost(errLeaseLost)
			return
		}
	}
}

// release gives the lease back, so that another need not wait for its end.
func (e *Engine) release(ctx context.Context, r Reader) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseFor)
	defer cancel()
	err := e.inTx(ctx, r, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM prelude.leases WHERE reader = $1 AND version = $2 AND owner = $3`,
			r.Name, r.Version, e.Owner)
		return err
	})
	if err != nil {
		return fmt.Errorf("give the lease back: %w", err)
	}
	return nil
}
