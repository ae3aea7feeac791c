package domain

// Kind is the sort of a refusal; the edge turns it into a status.
type Kind int

// The kinds of refusals.
const (
	Invalid   Kind = iota + 1 // the request breaks a rule that its sender can read: 422
	NotFound                  // it does not exist, or the caller may not know that it does: 404
	Forbidden                 // the caller sees it and may not do this: 403
	Conflict                  // it does not fit the state there is: 409
	Stale                     // If-Match names another state than the one there is: 412
	Required                  // a precondition is missing: 428
	TooLarge                  // 413
)

// Error is a refusal: nothing happened, and repeating it as it is cannot succeed.
type Error struct {
	Kind   Kind
	Code   string // stable, snake_case
	Detail string // one sentence; never a value that was sent
	Fields []Field
	Rule   string // the rule that refused, where one did
	Ref    string // the id of what is in the way, where there is one
	ETag   string // the state there is, for Stale
}

// Field names one fault of a request: where it is, which rule it breaks, and how to mend it.
type Field struct{ Name, Code, Detail string }

func (e *Error) Error() string { return e.Code + ": " + e.Detail }

// Is says that two refusals are the same one if their codes are.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// With returns e about the named field.
func (e *Error) With(field string) *Error {
	c := *e
	c.Fields = []Field{{Name: field, Code: e.Code, Detail: e.Detail}}
	return &c
}

// About returns e with the id of what is in the way.
func (e *Error) About(id string) *Error {
	c := *e
	c.Ref = id
	return &c
}

// Faults gathers the faults of one request, so that all are told at once.
type Faults []Field

// Add notes a fault of field.
func (f *Faults) Add(field, code, detail string) {
	*f = append(*f, Field{Name: field, Code: code, Detail: detail})
}

// Err is nil without faults, else one refusal that names them all.
func (f Faults) Err() error {
	if len(f) == 0 {
		return nil
	}
	return &Error{Kind: Invalid, Code: "invalid", Detail: "The request breaks a rule.", Fields: f}
}

// The refusals that more than one aggregate gives.
var (
	ErrNotFound = &Error{Kind: NotFound, Code: "not_found",
		Detail: "There is no such thing, or it is not yours to see."}
	ErrDeleted = &Error{Kind: Conflict, Code: "deleted",
		Detail: "It is deleted: restore it first."}
	ErrErased = &Error{Kind: Conflict, Code: "erased",
		Detail: "Its texts were erased: nothing can be added."}
	ErrStale = &Error{Kind: Stale, Code: "precondition_failed",
		Detail: "It has changed since: read it again and send its ETag in If-Match."}
)
