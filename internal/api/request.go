package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
	"github.com/maypok86/otter/v2"

	"prelude/commands"
	"prelude/domain"
	"prelude/internal/eventlog"
	"prelude/readmodels"
)

// Caller is who sent the request: a part of every input, filled in from the API key.
type Caller struct {
	Who       domain.Principal `json:"-"`
	requestID string
	method    string
	path      string
}

// Resolve takes who was authenticated.
func (c *Caller) Resolve(ctx huma.Context) []error {
	s, _ := ctx.Context().Value(seenKey{}).(*seen)
	if s != nil {
		c.Who, c.requestID = s.who, s.id
	}
	c.method, c.path = ctx.Method(), ctx.URL().Path
	return nil
}

// Command is a part of the input of every command.
type Command struct {
	Caller
	IdempotencyKey string `header:"Idempotency-Key" doc:"1–255 printable characters; a repeat with the same body is answered with what was made then"`
	IfMatch        string `header:"If-Match" doc:"the ETag that the thing must have"`
	key            string
}

// commandSpace is the space of the ids that follow from idempotency keys.
var commandSpace = uuid.MustParse("6f0a3c52-4be0-5f1d-9f43-0f4a3c9b6a11")

// Resolve checks the Idempotency-Key.
func (c *Command) Resolve(ctx huma.Context) []error {
	c.Caller.Resolve(ctx)
	values := headerValues(ctx, "Idempotency-Key")
	if len(values) == 0 {
		return nil
	}
	c.key = values[0]
	if len(values) > 1 || len(c.key) == 0 || len(c.key) > 255 || strings.ContainsFunc(c.key, notPrintable) {
		return []error{bad("header.Idempotency-Key", "pattern", "must be 1 to 255 printable characters")}
	}
	return nil
}

func headerValues(ctx huma.Context, name string) []string {
	var values []string
	ctx.EachHeader(func(n, v string) {
		if strings.EqualFold(n, name) {
			values = append(values, v)
		}
	})
	return values
}

func notPrintable(r rune) bool { return r < 0x20 || r > 0x7e }

// bad is a problem about one field.
func bad(field, code, detail string) *Problem {
	p := problem(http.StatusUnprocessableEntity, "invalid", "The request breaks a rule.")
	p.Errors = []ProblemField{{field, code, detail}}
	return p
}

// meta is who gives the command and as which; body is what was sent, compared in a repeat.
func (c Command) meta(body []byte) commands.Meta {
	m := commands.Meta{By: c.Who, Command: uuid.New(), Correlation: c.requestID, IfMatch: etags(c.IfMatch)}
	if c.key != "" {
		m.Command = uuid.NewSHA1(commandSpace, []byte(strings.Join(
			[]string{string(c.Who.Org), string(c.Who.User), c.method, c.path, c.key}, "\n")))
		m.Repeatable, m.Body = true, canonical(body)
	}
	return m
}

// etags are those of an If-Match without their quotes; nil: any will do.
func etags(header string) []string {
	if header == "" {
		return nil
	}
	var all []string
	for tag := range strings.SplitSeq(header, ",") {
		tag = strings.TrimSpace(tag)
		if tag == "*" {
			return nil
		}
		// A weak tag never matches: RFC 9110 §13.1.1.
		if !strings.HasPrefix(tag, "W/") {
			all = append(all, strings.Trim(tag, `"`))
		}
	}
	return append(all, "")
}

// Query is a part of the input of every query.
type Query struct {
	Caller
	MinPosition string `query:"min_position" doc:"a Prelude-Position that the answer must have reached"`
	Consistency string `query:"consistency" enum:"strict" doc:"strict: 503 instead of a stale answer"`
}

// AsOfQuery is a part of the input of queries about the past.
type AsOfQuery struct {
	AsOf string `query:"as_of" doc:"a time in RFC 3339, or a Prelude-Position"`
}

// Paging is a part of the input of every list.
type Paging struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"100" default:"20"`
	Cursor string `query:"cursor" doc:"next_cursor of the page before"`
	Order  string `query:"order" enum:"asc,desc" doc:"by time; the default is the list's own"`
}

// page is the part of the list that is asked for.
func (p Paging) page(asc bool) readmodels.Page {
	if p.Order != "" {
		asc = p.Order == "asc"
	}
	return readmodels.Page{Limit: p.Limit, Cursor: p.Cursor, Asc: asc}
}

// The longest waits for a view.
const (
	waitAsked = 2 * time.Second
	waitOwn   = 250 * time.Millisecond
)

// wait waits until a reader has reached what the query asks for, or the caller's own last command. Stale says
// that it has not.
func (s *Server) wait(ctx context.Context, q Query, reader string) (stale bool, err error) {
	want, asked, limit := s.lastOf(q.Who), false, waitOwn
	if q.MinPosition != "" {
		if want, err = s.position("query.min_position", q.MinPosition); err != nil {
			return false, err
		}
		asked, limit = true, waitAsked
	}
	if want == 0 || s.Progress.At(reader) >= want {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	stale = !s.Progress.Wait(ctx, reader, want) && asked
	if stale && q.Consistency == "strict" {
		return true, unavailable("The view has not reached that position yet.")
	}
	return stale, nil
}

// lastOf is where the caller's last command through this instance stands.
func (s *Server) lastOf(who domain.Principal) eventlog.Position {
	at, _ := s.last.GetIfPresent(who.User)
	return at
}

// noted remembers where a command of the caller's stands, and writes it as a position outside.
func (s *Server) noted(who domain.Principal, at eventlog.Position) string {
	if at == 0 {
		return ""
	}
	s.reached(who.User, at)
	return s.token(at)
}

// reached remembers where something of a user's stands, if that is later than what is remembered.
func (s *Server) reached(user domain.UserID, at eventlog.Position) {
	s.last.Compute(user, func(was eventlog.Position, found bool) (eventlog.Position, otter.ComputeOp) {
		if found && was >= at {
			return was, otter.CancelOp
		}
		return at, otter.WriteOp
	})
}
