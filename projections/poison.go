package projections

import (
	"errors"
	"fmt"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/jackc/pgx/v5/pgconn"

	"prelude/internal/eventlog"
)

// ErrPoison marks a fault of an event.
var ErrPoison = errors.New("the event cannot be applied")

// poison says whether the fault is in an event, so that waiting does not mend it.
func poison(err error) bool {
	var pg *pgconn.PgError
	switch {
	case errors.Is(err, ErrPoison):
		return true
	case errors.As(err, &pg):
		// Classes of SQLSTATE: 22 data, 23 constraints.
		return strings.HasPrefix(pg.Code, "22") || strings.HasPrefix(pg.Code, "23")
	}
	return false
}

// reason tells a fault to whoever looks after the readers, in any org. What is wrong with an event may quote the event,
// and so what people wrote: then only the kind of the fault is told. What is wrong with a part is in the log.
func reason(err error) string {
	var pg *pgconn.PgError
	var kind *jsonv2.SemanticError
	switch {
	case errors.As(err, &pg):
		return fmt.Sprintf("the database refused it: SQLSTATE %s%s", pg.Code, place(pg))
	case errors.Is(err, eventlog.ErrSealed):
		return "a text of it does not open"
	case errors.As(err, &kind):
		return "it cannot be read" + field(kind.JSONPointer)
	case errors.Is(err, errGap):
		return err.Error() // numbers
	case errors.Is(err, ErrPoison):
		return "it cannot be read"
	case errors.Is(err, ErrAhead), errors.Is(err, eventlog.ErrRewound):
		return ErrAhead.Error()
	case errors.Is(err, eventlog.ErrUnavailable):
		return eventlog.ErrUnavailable.Error()
	}
	return "it failed; the log of its owner says how"
}

// told is a fault for the log of this process.
func told(err error) string {
	if poison(err) {
		return reason(err)
	}
	return err.Error()
}

// place is the names, which are ours, of what refused.
func place(pg *pgconn.PgError) string {
	text := ""
	for _, part := range [][2]string{{"table", pg.TableName}, {"column", pg.ColumnName},
		{"constraint", pg.ConstraintName}} {
		if part[1] != "" {
			text += ", " + part[0] + " " + part[1]
		}
	}
	return text
}

// field is the event's field that a pointer leads into. What lies deeper may be called as people like.
func field(at jsontext.Pointer) string {
	for name := range at.Tokens() {
		return ": the field " + name + " is wrong"
	}
	return ""
}
