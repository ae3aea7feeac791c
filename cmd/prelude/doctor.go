package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"prelude/internal/postgres"
	"prelude/internal/search"
	"prelude/internal/vault"
)

type doctorCmd struct{}

// finding is what the doctor found of one part.
type finding struct {
	part string
	err  error
	mend string
}

var errUnwell = errors.New("something is wrong: see above")

// Run looks at each part and says what is wrong and how to mend it.
func (doctorCmd) Run(ctx context.Context, cfg *Config, s streams) error {
	findings := []finding{{"configuration", cfg.check(), "set what is named to what it must be"}}
	if findings[0].err == nil {
		findings = append(findings, examine(ctx, cfg, s)...)
	}
	unwell := false
	for _, f := range findings {
		if f.err == nil {
			fmt.Fprintf(s.out, "ok     %s\n", f.part)
			continue
		}
		unwell = true
		fmt.Fprintf(s.out, "wrong  %s: %s\n       %s\n", f.part, strings.ReplaceAll(f.err.Error(), "\n", "\n       "), f.mend)
	}
	if unwell {
		return errUnwell
	}
	return nil
}

func examine(ctx context.Context, cfg *Config, s streams) []finding {
	logger := cfg.logger(s.err)
	p, err := openLog(ctx, cfg, logger, false)
	findings := []finding{{"event store", err,
		"start the store that PRELUDE_EVENTSTORE names, or free the data folder " + cfg.Data}}
	if err == nil {
		err = p.openDatabase(ctx)
		findings = append(findings, finding{"database", err,
			"install Postgres 15 or later (apt install postgresql, or brew install postgresql@17), or set DATABASE_URL"})
	}
	if err == nil {
		findings = append(findings, examineDatabase(ctx, p)...)
	}
	findings = append(findings, examineSearch(ctx, cfg, p), examineModels(ctx, cfg))
	if err := p.Close(); err != nil {
		findings = append(findings, finding{"close", err, "look at the log above"})
	}
	return findings
}

func examineDatabase(ctx context.Context, p *parts) []finding {
	found := []finding{{"row-level security", postgres.Walled(ctx, p.pool),
		"run prelude migrate as the database's owner"}}
	_, err := os.Stat(p.cfg.masterKey())
	fresh, freshErr := vault.Fresh(ctx, p.pool)
	if fresh && freshErr == nil {
		return append(found, finding{"vault", nil, ""})
	}
	if err == nil && freshErr == nil {
		err = p.openVault(ctx)
	}
	return append(found, finding{"vault", errors.Join(err, freshErr),
		"put the right master key back from your backup: " + p.cfg.masterKey()})
}

func examineSearch(ctx context.Context, cfg *Config, p *parts) finding {
	f := finding{part: "search (Postgres)"}
	if cfg.OpenSearchURL == "" {
		return f
	}
	f.part, f.mend = "search (OpenSearch)", "start OpenSearch at OPENSEARCH_URL; until then Postgres searches"
	index, err := search.Open(search.Config{URL: cfg.OpenSearchURL, Prefix: cfg.OpenSearchPrefix,
		Logger: p.logger})
	if err != nil {
		f.err = err
		return f
	}
	f.err = errors.Join(index.Ready(ctx), index.Close())
	return f
}

func examineModels(ctx context.Context, cfg *Config) finding {
	f := finding{part: "models (demo)"}
	if cfg.OpenAIBaseURL == "" {
		return f
	}
	f.part, f.mend = "models (OPENAI_BASE_URL)", "check OPENAI_BASE_URL and OPENAI_API_KEY"
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(cfg.OpenAIBaseURL, "/")+"/models", nil)
	if err != nil {
		f.err = errors.New("it is not an address")
		return f
	}
	if cfg.OpenAIKey != "" {
		req.Header.Set("Authorization", "Bearer "+cfg.OpenAIKey)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		f.err = errors.New("it does not answer")
		return f
	}
	defer func() { _ = resp.Body.Close() }() // nothing is read
	if resp.StatusCode >= http.StatusBadRequest && resp.StatusCode != http.StatusNotFound {
		f.err = fmt.Errorf("it answers %d", resp.StatusCode)
	}
	return f
}
