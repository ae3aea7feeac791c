package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/google/uuid"

	"prelude/commands"
)

// defaultOrg is the org that an empty log gets.
const defaultOrg = "default"

// devFile holds the address and a key for shells; make run writes it.
const devFile = "dev.env"

// instanceID is this installation's id: that in the data folder, else the configured one, else a random one.
func (c *Config) instanceID() (string, error) {
	text, err := os.ReadFile(c.path("instance"))
	if err == nil {
		return strings.TrimSpace(string(text)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read the instance's id: %w", err)
	}
	id := c.Instance
	if id == "" {
		id = uuid.NewString()
	}
	err = os.WriteFile(c.path("instance"), []byte(id+"\n"), 0o600)
	if err != nil {
		return "", fmt.Errorf("write the instance's id: %w", err)
	}
	return id, nil
}

// greet gives an empty log its first org, and says where Prelude answers and how to call it.
func greet(ctx context.Context, p *parts, url string, devEnv bool, s streams) error {
	orgs := commands.Orgs{Engine: p.engine, MAC: p.vault.MasterMAC}
	founding, there, err := orgs.Owner(ctx, defaultOrg)
	if err != nil {
		return err
	}
	switch {
	case !there:
		founding, err = orgs.Create(ctx, defaultOrg, "Default")
	case devEnv && !hasKey(p.cfg):
		founding, err = orgs.IssueOwnerKey(ctx, defaultOrg)
	}
	if err != nil {
		return fmt.Errorf("make the first org: %w", err)
	}
	if devEnv {
		if err := writeDevEnv(p.cfg, url, founding.Secret); err != nil {
			return err
		}
	}
	if founding.Secret != "" {
		fmt.Fprintf(s.out, "API key of the owner of the org %q, shown once: %s\n", defaultOrg, founding.Secret)
	}
	fmt.Fprintf(s.out, "Prelude answers at %s\n", url)
	if devEnv {
		fmt.Fprintf(s.out, "In another shell:  set -a; . %s; set +a\n", p.cfg.path(devFile))
		fmt.Fprintln(s.out, `Then:              curl -s -H "Authorization: Bearer $PRELUDE_API_KEY" $PRELUDE_URL/v1/me`)
	}
	return nil
}

func hasKey(c *Config) bool {
	text, err := os.ReadFile(c.path(devFile))
	return err == nil && strings.Contains(string(text), "PRELUDE_API_KEY=prelude_")
}

// writeDevEnv keeps the key that is in the file where there is no new one.
func writeDevEnv(c *Config, url, secret string) error {
	if secret == "" {
		text, err := os.ReadFile(c.path(devFile))
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			if key, ok := strings.CutPrefix(strings.TrimSpace(line), "PRELUDE_API_KEY="); ok {
				secret = key
			}
		}
	}
	text := "PRELUDE_URL=" + url + "\nPRELUDE_API_KEY=" + secret + "\n"
	if err := os.WriteFile(c.path(devFile), []byte(text), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", devFile, err)
	}
	return os.Chmod(c.path(devFile), 0o600)
}
