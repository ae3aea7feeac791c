package eventlog

import (
	"errors"
	"strings"

	"prelude/domain"
)

// Stream names one aggregate's events: <category>-<org>_<id>, or <category>-<org> for the org's
// own. Ids stand in it without their prefixes.
type Stream struct {
	Category string
	Org      string
	ID       string
}

// The categories of streams.
const (
	OrgCategory        = "org"
	UserCategory       = "user"
	APIKeyCategory     = "apikey"
	ClaimCategory      = "claim"
	PresetCategory     = "preset"
	SessionCategory    = "session"
	CompletionCategory = "completion"
	LogCategory        = "log"
)

// SystemOrg stands for the installation where a stream belongs to no org: claims and the log's identity alone do.
const SystemOrg = "system"

// OrgStream is the stream of an org.
func OrgStream(org domain.OrgID) Stream {
	return Stream{Category: OrgCategory, Org: domain.Bare(org)}
}

// UserStream is the stream of a user.
func UserStream(org domain.OrgID, u domain.UserID) Stream {
	return Stream{UserCategory, domain.Bare(org), domain.Bare(u)}
}

// APIKeyStream is the stream of an API key.
func APIKeyStream(org domain.OrgID, k domain.APIKeyID) Stream {
	return Stream{APIKeyCategory, domain.Bare(org), domain.Bare(k)}
}

// PresetStream is the stream of a preset.
func PresetStream(org domain.OrgID, p domain.PresetID) Stream {
	return Stream{PresetCategory, domain.Bare(org), domain.Bare(p)}
}

// SessionStream is the stream of a session.
func SessionStream(org domain.OrgID, s domain.SessionID) Stream {
	return Stream{SessionCategory, domain.Bare(org), domain.Bare(s)}
}

// CompletionStream is the stream of a stateless completion, which has its reply's id.
func CompletionStream(org domain.OrgID, r domain.ReplyID) Stream {
	return Stream{CompletionCategory, domain.Bare(org), domain.Bare(r)}
}

// ClaimStream is the stream of a name. Kind is a word such as preset, handle, turn or org; owner is "org" or a user's
// id; name is a slug, or an HMAC in hexadecimal digits. Without an org it is a name of the whole installation.
func ClaimStream(org domain.OrgID, kind, owner, name string) Stream {
	bare := SystemOrg
	if org != "" {
		bare = domain.Bare(org)
	}
	return Stream{ClaimCategory, bare, kind + "." + domain.Bare(owner) + "." + name}
}

// IdentityStream holds the log's own id.
var IdentityStream = Stream{LogCategory, SystemOrg, "identity"}

// String is the stream's name in the store.
func (s Stream) String() string {
	if s.ID == "" {
		return s.Category + "-" + s.Org
	}
	return s.Category + "-" + s.Org + "_" + s.ID
}

// ErrForeign: the stream is none of Prelude's. Other applications may keep theirs in the same store.
var ErrForeign = errors.New("a stream's name is not <category>-<org>_<id>, so it is none of Prelude's")

// ParseStream takes a stream's name apart. It is the only place that does, and the one that says whose a stream is:
// ours has exactly a name that one of the constructors above makes. Error: [ErrForeign].
func ParseStream(name string) (Stream, error) {
	category, rest, _ := strings.Cut(name, "-")
	org, id, has := strings.Cut(rest, "_")
	ours := false
	switch category {
	case OrgCategory:
		ours = isBare(org) && !has
	case UserCategory, APIKeyCategory, PresetCategory, SessionCategory, CompletionCategory:
		ours = isBare(org) && isBare(id)
	case ClaimCategory:
		ours = isClaim(org, id)
	case LogCategory:
		ours = org == IdentityStream.Org && id == IdentityStream.ID
	}
	if !ours {
		return Stream{}, ErrForeign
	}
	return Stream{category, org, id}, nil
}

// isBare says whether id is one without its prefix.
func isBare(id string) bool { return domain.ValidID("", id) }

// mostName is the longest name that is claimed: slugs have 63 characters, HMACs 32.
const mostName = 64

// isClaim says whether id is <kind>.<owner>.<name>, as ClaimStream makes it. Any word is a kind: a newer program may
// have more of them, and a copy made by this one must not leave their claims behind.
func isClaim(org, id string) bool {
	kind, rest, _ := strings.Cut(id, ".")
	owner, name, _ := strings.Cut(rest, ".")
	owned := owner == orgOwner || org != SystemOrg && isBare(owner)
	return (org == SystemOrg || isBare(org)) && owned && kind != "" && name != "" && len(name) <= mostName &&
		strings.Trim(kind, letters) == "" && strings.Trim(name, letters+"0123456789_.-") == ""
}

const (
	orgOwner = "org" // of the names that belong to an org as a whole, and of those of the installation
	letters  = "abcdefghijklmnopqrstuvwxyz"
)

// Object is the typed id of what the stream is about; empty for claims and the log's own.
func (s Stream) Object() string {
	prefix := map[string]string{
		UserCategory: domain.UserPrefix, APIKeyCategory: domain.APIKeyPrefix,
		PresetCategory: domain.PresetPrefix, SessionCategory: domain.SessionPrefix,
		CompletionCategory: domain.ReplyPrefix,
	}[s.Category]
	switch {
	case s.Category == OrgCategory:
		return domain.OrgPrefix + s.Org
	case prefix == "":
		return ""
	}
	return prefix + s.ID
}

// ObjectStream is the stream of the thing with a typed id in an org; false: ids of that kind have
// none.
func ObjectStream(org domain.OrgID, id string) (Stream, bool) {
	prefix, _, _ := strings.Cut(id, "_")
	category := map[string]string{
		"usr": UserCategory, "key": APIKeyCategory, "prs": PresetCategory,
		"ses": SessionCategory, "rpl": CompletionCategory,
	}[prefix]
	switch {
	case prefix == "org" && id == string(org):
		return OrgStream(org), true
	case category == "" || !domain.ValidID(prefix+"_", id):
		return Stream{}, false
	}
	return Stream{category, domain.Bare(org), domain.Bare(id)}, true
}
