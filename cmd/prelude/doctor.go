package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"prelude/internal/eventlog"
	"prelude/internal/eventstore"
	"prelude/internal/search"
	"prelude/internal/vault"
)

type doctorCmd struct{}

// finding is what the doctor found of one part.
type finding struct {
	part   string
	note   string // what there is to know where nothing is wrong
	err    error
	mend   string
	unseen string // why it was not looked at; of such a part nothing is said to be well or wrong
	idle   bool   // it does nothing now, as it should: it is neither well nor wrong
}

var errUnwell = errors.New("something is wrong: see above")

// patient is what the doctor looks at. It only looks: nothing is made, started or changed.
type patient struct {
	cfg    *Config
	logger *slog.Logger
	store  *eventstore.Store // nil: it could not be opened, or nobody serves it
	log    *eventlog.Log     // nil: it cannot be read
	unread string            // why not
}

// Run looks at each part and says what is wrong and how to mend it.
func (doctorCmd) Run(ctx context.Context, cfg *Config, s streams) error {
	findings := []finding{{part: "configuration", err: cfg.check(), mend: "set what is named to what it must be"}}
	if findings[0].err == nil {
		p := &patient{cfg: cfg, logger: slog.New(slog.DiscardHandler)} // what is wrong is said once, here
		findings = append(findings, p.folder())
		findings = append(findings, p.lookAtStore(ctx)...)
		findings = append(findings, p.database(ctx)...)
		findings = append(findings, p.search(ctx), p.models(ctx))
		if p.store != nil {
			defer func() { _ = p.store.Close() }() // it was only read
		}
	}
	unwell := false
	for _, f := range findings {
		f.write(s.out)
		unwell = unwell || f.err != nil
	}
	if unwell {
		return errUnwell
	}
	return nil
}

func (f finding) write(out io.Writer) {
	switch {
	case f.unseen != "":
		fmt.Fprintf(out, "-      %s: not looked at: %s\n", f.part, f.unseen)
	case f.err == nil && f.idle:
		fmt.Fprintf(out, "-      %s: %s\n", f.part, f.note)
	case f.err == nil:
		fmt.Fprintln(out, strings.TrimSuffix("ok     "+f.part+": "+f.note, ": "))
	default:
		fmt.Fprintf(out, "wrong  %s: %s\n       %s\n", f.part,
			strings.ReplaceAll(f.err.Error(), "\n", "\n       "), f.mend)
	}
}

const atFirst = "will be made at the first start"

func (p *patient) folder() finding {
	f := finding{part: "data folder", note: p.cfg.Data,
		mend: "set PRELUDE_DATA to a folder that is yours, or make it so"}
	info, err := os.Stat(p.cfg.Data)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.note += " " + atFirst
	case err != nil:
		f.err = err
	case !info.IsDir():
		f.err = fmt.Errorf("%s is not a folder", p.cfg.Data)
	case syscall.Access(p.cfg.Data, 7) != nil: // read, write and enter
		f.err = fmt.Errorf("%s cannot be written to", p.cfg.Data)
	}
	return f
}

// locked says whether a process holds the lock of a folder. To look it shares the lock for a moment, and only
// where it is free.
func locked(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }() // nothing was written
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return true, nil
	}
	return false, err
}

// master looks at the master key's file. fresh: nothing was sealed yet, so that it may be missing.
func (p *patient) master(fresh bool) ([]byte, finding) {
	f := finding{part: "master key", note: p.cfg.masterKey(),
		mend: "put the right master key back from your backup: " + p.cfg.masterKey()}
	key, _, err := vault.MasterKey(p.cfg.masterKey(), false)
	if fresh && errors.Is(err, vault.ErrMasterMissing) {
		f.note += " " + atFirst
	} else {
		f.err = err
	}
	return key, f
}

func (p *patient) search(ctx context.Context) finding {
	if p.cfg.OpenSearchURL == "" {
		return finding{part: "search (Postgres)"}
	}
	f := finding{part: "search (OpenSearch)", mend: "start OpenSearch at OPENSEARCH_URL; until then Postgres searches"}
	index, err := search.Open(search.Config{URL: p.cfg.OpenSearchURL, Prefix: p.cfg.OpenSearchPrefix,
		Logger: p.logger})
	if err != nil {
		f.err = err
		return f
	}
	f.err = errors.Join(index.Ready(ctx), index.Close())
	return f
}

func (p *patient) models(ctx context.Context) finding {
	if p.cfg.OpenAIBaseURL == "" {
		return finding{part: "models (demo)"}
	}
	f := finding{part: "models (OPENAI_BASE_URL)", mend: "check OPENAI_BASE_URL and OPENAI_API_KEY"}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet,
		strings.TrimSuffix(p.cfg.OpenAIBaseURL, "/")+"/models", nil)
	if err != nil {
		f.err = errors.New("it is not an address")
		return f
	}
	if p.cfg.OpenAIKey != "" {
		req.Header.Set("Authorization", "Bearer "+p.cfg.OpenAIKey)
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
