package readmodels

import (
	"context"
	"fmt"
	"strings"
	"time"

	"prelude/domain"
	"prelude/internal/authz"
)

// UsageFilter asks for usage between two days, both included, summed by some of day, preset and model.
type UsageFilter struct {
	From, To time.Time
	Group    []string
}

// Usage is what was used; fields that were summed over are nil.
type Usage struct {
	Day          *time.Time
	Preset       *string
	Version      *int
	Model        *string
	Messages     int64
	InputTokens  int64
	OutputTokens int64
	Failures     int64
	CostMicros   int64
}

// Usage sums what the caller's org used.
func (r *Reader) Usage(ctx context.Context, who domain.Principal, f UsageFilter) ([]Usage, error) {
	if _, err := authz.May(who, authz.SeeAudit, authz.Thing{Org: who.Org}); err != nil {
		return nil, err
	}
	columns := map[string]string{"day": "NULL::date", "preset": "NULL::text", "version": "NULL::int",
		"model": "NULL::text"}
	var group []string
	for _, g := range f.Group {
		columns[g] = g
		group = append(group, g)
		if g == "preset" {
			columns["preset"], columns["version"] = "NULLIF(preset, '')", "NULLIF(version, 0)"
			group = append(group, "version")
		}
	}
	by := ""
	if len(group) > 0 {
		by = "GROUP BY " + strings.Join(group, ", ") + " ORDER BY " + strings.Join(group, ", ")
	}
	usage := []Usage{}
	err := r.ask(ctx, who.Org, func(b *batch) {
		b.Queue(fmt.Sprintf(`SELECT %s AS day, %s AS preset, %s AS version, %s AS model,
			COALESCE(sum(messages), 0)::bigint AS messages, COALESCE(sum(input_tokens), 0)::bigint AS input_tokens,
			COALESCE(sum(output_tokens), 0)::bigint AS output_tokens, COALESCE(sum(failures), 0)::bigint AS failures,
			COALESCE(sum(cost_micros), 0)::bigint AS cost_micros
			FROM prelude.usage_daily u WHERE org = $1 AND u.day BETWEEN $2 AND $3 %s LIMIT 10000`,
			columns["day"], columns["preset"], columns["version"], columns["model"], qualified(by)),
			who.Org, f.From, f.To).Query(scan(&usage))
	})
	return usage, wrap("sum usage", err)
}

// qualified keeps GROUP BY from meaning the columns of the answer.
func qualified(by string) string {
	for _, c := range []string{"day", "preset", "version", "model"} {
		by = strings.ReplaceAll(by, " "+c, " u."+c)
	}
	return by
}
