package domain

import "time"

// Role is what a person is in an org.
type Role string

// The roles.
const (
	Owner    Role = "owner"
	Admin    Role = "admin"
	Reviewer Role = "reviewer"
	Member   Role = "member"
	Auditor  Role = "auditor"
)

// ValidRole says whether r is a role.
func ValidRole(r Role) bool {
	switch r {
	case Owner, Admin, Reviewer, Member, Auditor:
		return true
	}
	return false
}

// Principal is who acts: a person with an API key, or one of the program's own jobs.
type Principal struct {
	Org  OrgID
	User UserID
	Key  APIKeyID
	Role Role
	Job  string // "lost", "setup": set when the program acts by itself
}

// Credential is what an API key proves: who shows it, if the SHA-256 of its secret is Hash.
type Credential struct {
	Principal
	Hash      []byte
	ExpiresAt *time.Time
	RevokedAt *time.Time
}
