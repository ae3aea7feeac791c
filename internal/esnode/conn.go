package esnode

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"

	"modernc.org/sqlite"
)

// conn is a connection to the database with its statements, for one goroutine at a time. It
// calls the driver without database/sql, whose conversions cost as much as SQLite does here.
type conn struct {
	raw   driver.Conn
	stmts []*stmt

	begin, commit, rollback *stmt
	addEvent, addStream     *stmt
	streamID, head          *stmt
	nthLast, gapEnd, nameOf *stmt
	forwards, backwards     *stmt
	allForwards, allBack    *stmt
}

const (
	columns  = "SELECT pos, stream, rev, rec FROM events "
	whereAll = "WHERE pos >= ? AND pos <= ? "
	// The plus keeps the planner from searching by position.
	whereStream = "WHERE stream = ? AND rev >= ? AND rev <= ? AND +pos <= ? "
)

func openConn(dsn string) (*conn, error) {
	raw, err := (&sqlite.Driver{}).Open(dsn)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", damageOf(err))
	}
	return &conn{raw: raw}, nil
}

// prepare readies the statements; the tables must exist.
func (c *conn) prepare() error {
	for _, p := range []struct {
		to  **stmt
		sql string
	}{
		{&c.begin, "BEGIN IMMEDIATE"},
		{&c.commit, "COMMIT"},
		{&c.rollback, "ROLLBACK"},
		{&c.addEvent, "INSERT INTO events (pos, stream, rev, rec) VALUES (?, ?, ?, ?)"},
		{&c.addStream, "INSERT INTO streams (id, name) VALUES (?, ?)"},
		{&c.streamID, "SELECT id FROM streams WHERE name = ?"},
		{&c.head, "SELECT rev, pos FROM events WHERE stream = ? AND +pos <= ? ORDER BY rev DESC LIMIT 2"},
		{&c.nthLast, "SELECT pos FROM events ORDER BY pos DESC LIMIT 1 OFFSET ?"},
		// Of the gap that a position is in, where the next event is.
		{&c.gapEnd, "SELECT high FROM (SELECT high FROM gaps WHERE low <= ? ORDER BY low DESC LIMIT 1) " +
			"WHERE high > ?"},
		{&c.nameOf, "SELECT name FROM streams WHERE id = ?"},
		{&c.forwards, columns + whereStream + "ORDER BY rev LIMIT ?"},
		{&c.backwards, columns + whereStream + "ORDER BY rev DESC LIMIT ?"},
		{&c.allForwards, columns + whereAll + "ORDER BY pos LIMIT ?"},
		{&c.allBack, columns + whereAll + "ORDER BY pos DESC LIMIT ?"},
	} {
		s, err := c.statement(p.sql)
		if err != nil {
			return err
		}
		*p.to = s
	}
	return nil
}

var errDriver = errors.New("the driver of SQLite takes no contexts")

func (c *conn) statement(sql string) (*stmt, error) {
	raw, err := c.raw.Prepare(sql)
	if err != nil {
		return nil, fmt.Errorf("prepare %q: %w", sql, err)
	}
	s := &stmt{raw: raw}
	var execs, queries bool
	s.exec, execs = raw.(driver.StmtExecContext)
	s.query, queries = raw.(driver.StmtQueryContext)
	if !execs || !queries {
		return nil, errors.Join(errDriver, raw.Close())
	}
	c.stmts = append(c.stmts, s)
	return s, nil
}

// run executes a script that takes no parameters.
func (c *conn) run(sql string) error {
	s, err := c.raw.Prepare(sql)
	if err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	exec, ok := s.(driver.StmtExecContext)
	if !ok {
		return errors.Join(errDriver, s.Close())
	}
	_, err = exec.ExecContext(context.Background(), nil)
	return errors.Join(err, s.Close())
}

// number gives the one value that a query without parameters answers.
func (c *conn) number(sql string) (n int64, err error) {
	s, err := c.statement(sql)
	if err != nil {
		return 0, err
	}
	return s.number()
}

func (c *conn) close() error {
	var errs []error
	for _, s := range c.stmts {
		errs = append(errs, s.raw.Close())
	}
	return errors.Join(append(errs, c.raw.Close())...)
}

// stmt is a prepared statement. Its calls take no context: the driver would start a goroutine for
// each, and every query here is short.
type stmt struct {
	raw   driver.Stmt
	exec  driver.StmtExecContext
	query driver.StmtQueryContext
	args  []driver.NamedValue
	row   []driver.Value
}

func (s *stmt) bind(args []any) []driver.NamedValue {
	s.args = s.args[:0]
	for i, a := range args {
		s.args = append(s.args, driver.NamedValue{Ordinal: i + 1, Value: a})
	}
	return s.args
}

func (s *stmt) do(args ...any) error {
	defer func() { clear(s.args) }() // an event may be large; do not keep it
	_, err := s.exec.ExecContext(context.Background(), s.bind(args))
	return damageOf(err)
}

// each calls fn with every row until it says to stop; the row is valid until the next.
func (s *stmt) each(fn func(row []driver.Value) (bool, error), args ...any) error {
	rows, err := s.query.QueryContext(context.Background(), s.bind(args))
	if err != nil {
		return damageOf(err)
	}
	if s.row == nil {
		s.row = make([]driver.Value, len(rows.Columns()))
	}
	defer func() { clear(s.row) }()
	for more := true; more && err == nil; {
		if err = rows.Next(s.row); err == nil {
			more, err = fn(s.row)
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err != nil {
		_ = rows.Close() // says the same once more
		return damageOf(err)
	}
	return rows.Close()
}

// number gives the first column of the first row, 0 where there is none.
func (s *stmt) number(args ...any) (n int64, err error) {
	err = s.each(func(row []driver.Value) (bool, error) {
		n, _ = row[0].(int64)
		return false, nil
	}, args...)
	return n, err
}
