package readmodels

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/google/uuid"

	"prelude/domain"
	"prelude/domain/preset"
	"prelude/internal/eventlog"
	"prelude/internal/eventlog/eventlogtest"
)

// broken is a store of one stream, of which so many reads break.
type broken struct {
	eventlog.Store
	events []eventlog.Raw
	reads  int
	times  int
	way    func(n int, raw eventlog.Raw) (eventlog.Raw, error)
}

func (b *broken) Append(_ context.Context, stream string, expected eventlog.Revision, events []eventlog.Proposed,
) (eventlog.Appended, error) {
	for _, e := range events {
		expected++
		b.events = append(b.events, eventlog.Raw{ID: e.ID, Stream: stream, Revision: expected,
			Position: eventlog.Position(100 * (expected + 1)), Type: e.Type, Data: e.Data, Meta: e.Meta})
	}
	return eventlog.Appended{Revision: expected, Position: eventlog.Position(100 * (expected + 1))}, nil
}

func (b *broken) Read(_ context.Context, _ string, from eventlog.Revision, dir eventlog.Direction, limit uint64,
) iter.Seq2[eventlog.Raw, error] {
	return func(yield func(eventlog.Raw, error) bool) {
		b.reads++
		whole := b.reads > b.times
		all := slices.Clone(b.events)
		if dir == eventlog.Backwards {
			slices.Reverse(all)
		} else {
			all = all[min(int(from), len(all)):]
		}
		for n, raw := range all {
			if limit > 0 && uint64(n) == limit {
				return
			}
			err := error(nil)
			if !whole {
				raw, err = b.way(n, raw)
			}
			if !yield(raw, err) || err != nil {
				return
			}
		}
	}
}

// A stream that is deleted or cut while it is read is read again, a few times. Then it is unavailable: an answer that
// passes over what is missing is none.
func TestReads_pass_over_no_gap(t *testing.T) {
	t.Parallel()
	const org = domain.OrgID("org_1")
	stream := eventlog.PresetStream(org, "prs_1")
	cut := func(_ int, raw eventlog.Raw) (eventlog.Raw, error) {
		return raw, fmt.Errorf("%w: it was cut", eventlog.ErrChanged)
	}
	for name, read := range map[string]func(context.Context, *Reader) (int, error){
		"as of a time": func(ctx context.Context, r *Reader) (int, error) {
			records, _, err := r.prefix(ctx, stream, AsOf{Position: eventlog.End})
			return len(records), err
		},
		"a part of the history": func(ctx context.Context, r *Reader) (int, error) {
			records, err := r.take(ctx, stream, 0, eventlog.Forwards, 10)
			return len(records), err
		},
		"the history, the newest first": func(ctx context.Context, r *Reader) (int, error) {
			records, err := r.take(ctx, stream, eventlog.Last, eventlog.Backwards, 10)
			return len(records), err
		},
	} {
		for how, way := range map[string]func(n int, raw eventlog.Raw) (eventlog.Raw, error){
			"it says so": cut,
			"an event is left out": func(n int, raw eventlog.Raw) (eventlog.Raw, error) {
				if n > 0 {
					raw.Revision += 7
				}
				return raw, nil
			},
			"the first is left out": func(_ int, raw eventlog.Raw) (eventlog.Raw, error) {
				raw.Revision++
				return raw, nil
			},
		} {
			if how == "the first is left out" && name != "as of a time" {
				continue // a list begins where it can
			}
			for _, times := range []int{1, eventlog.Rereads - 1, 1000} {
				synctest.Test(t, func(t *testing.T) {
					store := &broken{times: times, way: way}
					r := &Reader{Log: &eventlog.Log{Store: store, Keys: &eventlogtest.Keys{}}}
					const events = 3
					for n := range events {
						_, _, err := r.Log.Append(context.Background(), stream, eventlog.Revision(n)-1,
							eventlog.Meta{Org: string(org), Command: uuid.New(), Step: uuid.New(), At: noon},
							[]any{preset.Restored{By: "usr_1", At: noon}})
						if err != nil {
							t.Fatal(err)
						}
					}
					n, err := read(t.Context(), r)
					if times < eventlog.Rereads && (err != nil || n != events) ||
						times >= eventlog.Rereads && !errors.Is(err, eventlog.ErrChanged) {
						t.Errorf("%s, %s %d times: %d events: %v", name, how, times, n, err)
					}
				})
			}
		}
	}
}
