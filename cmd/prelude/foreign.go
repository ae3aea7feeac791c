package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"prelude/domain"
	"prelude/domain/org"
	"prelude/internal/eventlog"
)

// founds says that an event founded an org of this log. That of a newer program, whose name this one does not know, did
// so too.
func founds(raw eventlog.Raw) bool {
	rec, err := eventlog.Decode(raw)
	return err == nil && rec.Stream.Category == eventlog.OrgCategory && rec.Kind() == eventlog.KindOf(org.Founded{})
}

// founded says whether the org of one of our streams was founded in the log. Other applications, and other logs of
// Prelude that were mixed into this one, may have streams whose names have the form of ours.
func founded(ctx context.Context, log *eventlog.Log, stream string) (bool, error) {
	s, err := eventlog.ParseStream(stream)
	if err != nil || s.Org == eventlog.SystemOrg {
		return err == nil, err
	}
	name := eventlog.OrgStream(domain.OrgID(domain.OrgPrefix + s.Org)).String()
	for raw, err := range log.Store.Read(ctx, name, 0, eventlog.Forwards, 0) {
		switch {
		case errors.Is(err, eventlog.ErrGone):
			return false, nil
		case err != nil:
			return false, fmt.Errorf("look whether an org was founded: %w", err)
		case founds(raw):
			return true, nil
		}
	}
	return false, ctx.Err()
}

// mostNamed is how many of other applications' streams are named; their events are all counted.
const mostNamed = 3

// others counts what a command goes past because it is another application's.
type others struct {
	events int
	named  []string // the first streams of them
}

func (o *others) pass(stream string) {
	if o.events++; len(o.named) < mostNamed && !slices.Contains(o.named, stream) {
		o.named = append(o.named, stream)
	}
}

// tell says in one line how many there were, and what was done with them; nothing, where there were none.
func (o *others) tell(out io.Writer, what string) {
	if o.events == 0 {
		return
	}
	names := make([]string, len(o.named))
	for i, name := range o.named {
		names[i] = printable(name)
	}
	fmt.Fprintf(out, "%s: %d events of other applications' streams, such as %s\n", what, o.events,
		strings.Join(names, ", "))
}

// printable is a name as it is, or quoted where it would do something to a terminal.
func printable(name string) string {
	if strings.ContainsFunc(name, func(r rune) bool { return r == unicode.ReplacementChar || !unicode.IsPrint(r) }) {
		return strconv.Quote(name)
	}
	return name
}
