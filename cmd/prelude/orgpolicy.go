package main

import (
	"context"
	"errors"
	"fmt"

	"prelude/commands"
	"prelude/domain/org"
)

type orgPolicyCmd struct {
	Slug          string `arg:"" help:"The org's slug."`
	RetentionDays *int   `env:"PRELUDE_ORG_RETENTION_DAYS" placeholder:"DAYS" help:"Destroy the texts of a session so many days after what last happened in it; 0: keep them." name:"retention-days"`
}

// Run shows an org's policy, after it has changed what is named.
func (c orgPolicyCmd) Run(ctx context.Context, cfg *Config, s streams) error {
	if err := cfg.check(); err != nil {
		return err
	}
	p, err := openAll(ctx, cfg, cfg.logger(s.err), false)
	if err != nil {
		return errors.Join(err, p.Close())
	}
	policy, err := c.policy(ctx, commands.Orgs{Engine: p.engine, MAC: p.vault.MasterMAC})
	if err == nil {
		kept := "for ever"
		if days := policy.RetentionDays; days > 0 {
			kept = fmt.Sprint(days)
		}
		_, err = fmt.Fprintf(s.out, "retention_days %s\n", kept)
	}
	return errors.Join(readable(err), p.Close())
}

func (c orgPolicyCmd) policy(ctx context.Context, orgs commands.Orgs) (org.Policy, error) {
	if c.RetentionDays != nil {
		return orgs.SetRetention(ctx, c.Slug, *c.RetentionDays)
	}
	return orgs.PolicyOf(ctx, c.Slug)
}
