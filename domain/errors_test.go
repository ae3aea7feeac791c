package domain_test

import (
	"errors"
	"fmt"
	"testing"

	"prelude/domain"
)

func asError(err error, to **domain.Error) bool { return errors.As(err, to) }

func TestARefusalIsKnownByItsCode(t *testing.T) {
	t.Parallel()
	wrapped := fmt.Errorf("publish: %w", domain.ErrDeleted.With("path.id").About("prs_1"))
	if !errors.Is(wrapped, domain.ErrDeleted) {
		t.Error("it is not the refusal that it was made of")
	}
	if errors.Is(wrapped, domain.ErrNotFound) || errors.Is(wrapped, errors.New("deleted")) {
		t.Error("it is another one too")
	}
}

func TestARefusalIsNotChangedByWhatIsMadeOfIt(t *testing.T) {
	t.Parallel()
	was := *domain.ErrDeleted
	field, about := domain.ErrDeleted.With("preset"), domain.ErrDeleted.About("prs_1")
	if len(domain.ErrDeleted.Fields) > 0 || domain.ErrDeleted.Ref != was.Ref {
		t.Error("the sentinel was changed")
	}
	want := domain.Field{Name: "preset", Code: "deleted", Detail: was.Detail}
	if len(field.Fields) != 1 || field.Fields[0] != want {
		t.Errorf("fields %v, want %v", field.Fields, want)
	}
	if about.Ref != "prs_1" {
		t.Errorf("it is about %q", about.Ref)
	}
	if got := field.Error(); got != "deleted: "+was.Detail {
		t.Errorf("it reads %q", got)
	}
}

func TestRoles(t *testing.T) {
	t.Parallel()
	for _, r := range []domain.Role{domain.Owner, domain.Admin, domain.Reviewer, domain.Member, domain.Auditor} {
		if !domain.ValidRole(r) {
			t.Errorf("%s is no role", r)
		}
	}
	for _, r := range []domain.Role{"", "Owner", "root", "owner "} {
		if domain.ValidRole(r) {
			t.Errorf("%q is a role", r)
		}
	}
}
