// Package readmodels answers questions: from Postgres behind the wall between orgs, from a search engine, and
// from the log where something is asked for as it was. It changes nothing.
package readmodels

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"prelude/domain"
	"prelude/internal/eventlog"
)

// Reader answers questions. Search may be nil: Postgres searches then, and also while Whole says that the index has
// not all yet. Without Whole it has.
type Reader struct {
	Pool   *pgxpool.Pool
	Log    *eventlog.Log
	Search SearchEngine
	Whole  func() bool
	names  *naming
}

// New returns a reader of the tables in two schemas: those of the versions that this program feeds.
func New(pool *pgxpool.Pool, log *eventlog.Log, rights, views string) *Reader {
	return &Reader{Pool: pool, Log: log,
		names: &naming{schemas: strings.NewReplacer("rights.", rights+".", "views.", views+".")}}
}

// naming has the schemas, as statements name them, be those of this program's versions.
type naming struct {
	schemas *strings.Replacer
	named   sync.Map // statements, by what they were: there are some dozens
}

func (n *naming) of(sql string) string {
	if named, ok := n.named.Load(sql); ok {
		return named.(string) //nolint:forcetypeassert // nothing else is put in
	}
	named := n.schemas.Replace(sql)
	n.named.Store(sql, named)
	return named
}

// batch is statements that name tables as rights.x and views.x, whichever versions those are of.
type batch struct {
	pgx.Batch
	names *naming
}

func (r *Reader) batch() *batch { return &batch{names: r.names} }

// Queue adds a statement.
func (b *batch) Queue(sql string, args ...any) *pgx.QueuedQuery {
	return b.Batch.Queue(b.names.of(sql), args...)
}

// ask runs statements in one round trip and one transaction, as the role that sees the rows of one org only.
func (r *Reader) ask(ctx context.Context, org domain.OrgID, queue func(*batch)) error {
	b := r.batch()
	b.Queue(`SELECT set_config('role', 'prelude_app', true), set_config('app.org_id', $1, true)`, string(org))
	queue(b)
	return r.Pool.SendBatch(ctx, &b.Batch).Close()
}

// scan reads all rows of a statement into T by the names of its columns.
func scan[T any](into *[]T) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		var err error
		*into, err = pgx.CollectRows(rows, pgx.RowToStructByName[T])
		return err
	}
}

// stored reads what the program has written with encoding/json, as that would but in half the time.
func stored(text []byte, into any) error {
	return jsonv2.Unmarshal(text, into, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

// Page asks for a part of a list.
type Page struct {
	Limit  int    // 1–100
	Cursor string // where the page before ended; empty: the beginning
	Asc    bool   // oldest first; else newest first
}

// List is a part of a list.
type List[T any] struct {
	Data    []T
	HasMore bool
	Next    string
}

// cursor is where a page ended: the time and id, or the number, of its last row.
type cursor struct {
	At time.Time `json:"t"`
	ID string    `json:"i,omitempty"`
	N  int64     `json:"n,omitempty"`
}

// ErrCursor is the refusal of a cursor that no list of ours gave.
var ErrCursor = &domain.Error{Kind: domain.Invalid, Code: "invalid", Detail: "The request breaks a rule.",
	Fields: []domain.Field{{Name: "query.cursor", Code: "cursor", Detail: "is not one that a list gave"}}}

func (c cursor) encode() string {
	b, err := json.Marshal(c)
	if err != nil {
		panic(err) // times and texts have JSON
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func (p Page) cursor() (cursor, error) {
	var c cursor
	if p.Cursor == "" {
		c.At, c.ID, c.N = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), "~", 1<<62
		if p.Asc {
			c = cursor{At: time.Unix(0, 0).UTC(), N: -1}
		}
		return c, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(p.Cursor)
	if err != nil || json.Unmarshal(b, &c) != nil || strings.ContainsRune(c.ID, 0) ||
		c.At.Year() < 0 || c.At.Year() > 9999 {
		return c, ErrCursor
	}
	return c, nil
}

// order is how a list over the columns is compared with the cursor, and ordered.
func (p Page) order() (compare, direction string) {
	if p.Asc {
		return ">", "ASC"
	}
	return "<", "DESC"
}

// list cuts the one row off that says that there are more.
func list[T any](rows []T, limit int, last func(T) cursor) List[T] {
	l := List[T]{Data: rows}
	if len(rows) > limit {
		l.Data, l.HasMore = rows[:limit], true
		l.Next = last(rows[limit-1]).encode()
	}
	return l
}

// AsOf is a point in the past: a time, or a position of the log. Where a clock went backwards, an event counts as of
// no earlier than those before it.
type AsOf struct {
	At       *time.Time
	Position eventlog.Position
}

// Point is what an answer as of some time stands for: asked for as of it, there is the same answer.
type Point struct {
	At       time.Time
	Revision eventlog.Revision
	Position eventlog.Position
}

func (a AsOf) includes(rec eventlog.Record) bool {
	if a.At != nil {
		return !rec.Meta.At.After(*a.At)
	}
	return rec.Position <= a.Position
}

// prefix reads the longest beginning of a stream that lies before a point: not found if there is none.
func (r *Reader) prefix(ctx context.Context, s eventlog.Stream, as AsOf) (records []eventlog.Record, at Point,
	err error) {
	err = eventlog.Unchanged(ctx, func(bool) (err error) {
		records, at, err = r.prefixOnce(ctx, s, as)
		return err
	})
	if err != nil {
		return nil, at, err
	}
	if len(records) == 0 {
		return nil, at, domain.ErrNotFound
	}
	if err := r.Log.Open(ctx, records); err != nil {
		return nil, at, err
	}
	return records, at, nil
}

// prefixOnce reads it. It begins with the stream's first event, or it is no state of the thing.
func (r *Reader) prefixOnce(ctx context.Context, s eventlog.Stream, as AsOf) (records []eventlog.Record, at Point,
	err error) {
	for rec, err := range r.Log.Read(ctx, s, 0, eventlog.Forwards) {
		if err != nil {
			return nil, at, err
		}
		if rec.Revision != eventlog.Revision(len(records)) {
			return nil, at, fmt.Errorf("%w: revision %d is missing", eventlog.ErrChanged, len(records))
		}
		if !as.includes(rec) {
			break
		}
		records = append(records, rec)
		if rec.Meta.At.After(at.At) {
			at.At = rec.Meta.At
		}
		at.Revision, at.Position = rec.Revision, rec.Position
	}
	return records, at, nil
}

type evolver[S, E any] interface{ Evolve(e E) S }

func fold[S evolver[S, E], E any](records []eventlog.Record) S {
	var s S
	for _, rec := range records {
		if e, ok := rec.Event.(E); ok {
			s = s.Evolve(e)
		}
	}
	return s
}

// one is the only row of an answer, or not found.
func one[T any](rows []T, err error) (T, error) {
	var none T
	if err != nil {
		return none, err
	}
	if len(rows) == 0 {
		return none, domain.ErrNotFound
	}
	return rows[0], nil
}

func wrap(what string, err error) error {
	var refusal *domain.Error
	if err == nil || errors.As(err, &refusal) {
		return err
	}
	return fmt.Errorf("%s: %w", what, err)
}
