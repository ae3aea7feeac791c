package projections

import (
	"encoding/json"
	"fmt"
	"maps"
	"testing"
	"time"

	"prelude/domain/completion"
	"prelude/domain/receipt"
	"prelude/domain/session"
	"prelude/internal/eventlog"
)

// count is a row of usage without its key.
type count struct{ messages, input, output, failures int }

// counts counts the ends of replies in a log, by org, day, preset, version and model.
func counts(records []eventlog.Record) map[string]count {
	all := map[string]count{}
	for _, rec := range records {
		var p *session.PresetVersion
		var u receipt.Usage
		var model string
		failed := 0
		switch e := rec.Event.(type) {
		case session.ReplyCompleted:
			p, u, model = e.Preset, e.Usage, e.Model
		case session.ReplyCancelled:
			p, u, model = e.Preset, e.Usage, e.Model
		case session.ReplyFailed:
			p, u, model, failed = e.Preset, e.Usage, e.Model, 1
		case completion.Ended:
			p, u, model = e.Preset, e.Usage, e.Model
			if e.Status == "failed" {
				failed = 1
			}
		default:
			continue
		}
		if p == nil {
			p = &session.PresetVersion{}
		}
		key := fmt.Sprintf("org_%s %s %s %d %s", rec.Stream.Org, rec.Meta.At.Format(time.DateOnly), p.ID, p.Version,
			model)
		c := all[key]
		all[key] = count{c.messages + 1, c.input + u.InputTokens, c.output + u.OutputTokens, c.failures + failed}
	}
	return all
}

// counted are the rows of usage.
func usageRows(t testing.TB, dsn string) map[string]count {
	t.Helper()
	var rows []struct {
		Key                  string
		Messages, In, Out, F int
	}
	text := ask[string](t, dsn, `SELECT coalesce(json_agg(json_build_object(
			'key', concat_ws(' ', org, day, preset, version, model), 'messages', messages,
			'in', input_tokens, 'out', output_tokens, 'f', failures)), '[]')::text FROM prelude.usage_daily`)
	if err := json.Unmarshal([]byte(text), &rows); err != nil {
		t.Fatal(err)
	}
	all := map[string]count{}
	for _, r := range rows {
		all[r.Key] = count{r.Messages, r.In, r.Out, r.F}
	}
	return all
}

func TestUsage_counts_each_reply_once_however_often_it_is_told(t *testing.T) {
	t.Parallel()
	log := newLog(t)
	a := write(t, log, 11, 200)
	for how := range 3 { // each way of ending is there
		s := a.newSession(acme, a.sessions[0].state.Owner)
		a.post(s)
		a.end(s, how)
	}
	pool, dsn := database(t)
	r := OutReader(takers{Usage{pool}.Take})
	records := recordsFor(t, log, r)
	want := counts(records)
	for range 2 {
		if err := r.Before(t.Context(), records); err != nil {
			t.Fatal(err)
		}
		if got := usageRows(t, dsn); !maps.Equal(got, want) {
			t.Fatalf("counted %v\nwant %v", got, want)
		}
	}
	total := count{}
	for _, c := range want {
		total.messages += c.messages
		total.failures += c.failures
	}
	if len(want) < 4 || total.failures == 0 || total.failures == total.messages {
		t.Errorf("the history shows too little: %v", want)
	}
}

func TestUsage_is_counted_once_when_a_batch_is_cut_short_and_comes_again(t *testing.T) {
	t.Parallel()
	log := newLog(t)
	write(t, log, 12, 80)
	pool, dsn := database(t)
	r := OutReader(takers{Usage{pool}.Take})
	records := recordsFor(t, log, r)
	for _, until := range []int{len(records) / 3, len(records) / 2, len(records)} {
		if err := r.Before(t.Context(), records[:until]); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := usageRows(t, dsn), counts(records); !maps.Equal(got, want) {
		t.Errorf("counted %v\nwant %v", got, want)
	}
}
