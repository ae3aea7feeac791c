package projections

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"prelude/domain/receipt"
	"prelude/internal/eventlog"
)

// Usage is the analytics consumer that counts messages, tokens and failures by org, preset version, model
// and day. It keeps its rows and how far it has come in one transaction, and skips what is not newer; what comes
// late it skips if it has counted that very event.
type Usage struct{ Pool *pgxpool.Pool }

const usageName = "usage_daily"

// Take counts one event, if it is the end of a reply.
func (u Usage) Take(ctx context.Context, e eventlog.CloudEvent) error {
	c, ok := counted(e)
	if !ok {
		return nil
	}
	pos, err := e.Position.Stored()
	if err != nil {
		return fmt.Errorf("count usage: %w", err)
	}
	preset, version := "", 0
	if c.Preset != nil {
		preset, version = c.Preset.ID, c.Preset.Version
	}
	failures := 0
	if e.Type == "prelude.session.reply_failed" || c.Status == "failed" {
		failures = 1
	}
	b := &pgx.Batch{}
	b.Queue(`SELECT set_config('role', 'prelude_proj', true)`)
	note := `INSERT INTO prelude.consumers AS c (name, pos) VALUES ($1, $2)
		ON CONFLICT (name) DO UPDATE SET pos = excluded.pos WHERE c.pos < excluded.pos RETURNING 1`
	if e.Late {
		note = `INSERT INTO prelude.consumed_late (name, pos) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING 1`
	}
	b.Queue(`WITH moved AS (`+note+`)
		INSERT INTO prelude.usage_daily AS t (org, day, preset, version, model, messages, input_tokens,
			output_tokens, failures, cost_micros)
		SELECT $3, $4, $5, $6, $7, 1, $8, $9, $10, $11 FROM moved
		ON CONFLICT (org, day, preset, version, model) DO UPDATE SET messages = t.messages + 1,
			input_tokens = t.input_tokens + excluded.input_tokens,
			output_tokens = t.output_tokens + excluded.output_tokens,
			failures = t.failures + excluded.failures, cost_micros = t.cost_micros + excluded.cost_micros`,
		usageName, pos, strings.TrimPrefix(e.Source, "/orgs/"), e.Time.UTC(), preset, version,
		c.Model, c.Usage.InputTokens, c.Usage.OutputTokens, failures, c.Cost)
	if err := u.Pool.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("count usage: %w", err)
	}
	return nil
}

// ended is what usage reads of the end of a reply.
type ended struct {
	Status string `json:"status"`
	Preset *struct {
		ID      string `json:"id"`
		Version int    `json:"version"`
	} `json:"preset"`
	Model string        `json:"model"`
	Usage receipt.Usage `json:"usage"`
	Cost  int64         `json:"cost_micros"`
}

func counted(e eventlog.CloudEvent) (ended, bool) {
	switch e.Type {
	case "prelude.session.reply_completed", "prelude.session.reply_failed",
		"prelude.session.reply_cancelled", "prelude.completion.ended":
	default:
		return ended{}, false
	}
	b, err := json.Marshal(e.Data)
	if err != nil {
		return ended{}, false
	}
	var c ended
	return c, json.Unmarshal(b, &c) == nil
}
