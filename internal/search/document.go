package search

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"prelude/domain"
	"prelude/projections"
)

// document is a preset as the index has it.
type document struct {
	ID          string            `json:"id"`
	Org         string            `json:"org"`
	Scope       string            `json:"scope"`
	Owner       string            `json:"owner"`
	ACL         []string          `json:"acl"`
	ACLBody     []string          `json:"acl_body"` // who may read content and loc_body
	Status      string            `json:"status"`
	Deleted     bool              `json:"deleted"`
	Language    string            `json:"language"`
	Model       string            `json:"model"`
	Version     int               `json:"version"`
	Position    uint64            `json:"position"`
	CreatedAt   time.Time         `json:"created_at"`
	UpdatedAt   time.Time         `json:"updated_at"`
	Slug        string            `json:"slug"`
	Name        string            `json:"name"`
	Description string            `json:"description"`
	Tags        []string          `json:"tags"`
	Content     string            `json:"content"`
	Loc         map[string]string `json:"loc,omitempty"`
	LocBody     map[string]string `json:"loc_body,omitempty"`
}

// The marks around what a highlight hit: they survive its HTML-escaping, and no text may have them.
const markBegin, markEnd = "\ue000", "\ue001"

var unmarked = strings.NewReplacer(markBegin, "", markEnd, "")

// What a right is called in the index. A preset names who may find it; a question, who asks.
func orgRight(org string) string   { return "o:" + org }
func userRight(user string) string { return "u:" + user }

// rightsOf are the rights that a principal has.
func rightsOf(who domain.Principal) []string {
	rights := []string{orgRight(string(who.Org))}
	if who.User != "" {
		rights = append(rights, userRight(string(who.User)))
	}
	return rights
}

func toDocument(d projections.Document) document {
	acl := []string{orgRight(d.Org)}
	if d.Scope == "user" {
		acl = []string{userRight(d.Owner)}
	}
	name, description := unmarked.Replace(d.Name), unmarked.Replace(d.Description)
	content := unmarked.Replace(d.Instructions)
	out := document{
		ID: d.ID, Org: d.Org, Scope: d.Scope, Owner: d.Owner, ACL: acl, ACLBody: acl, Status: d.Status,
		Deleted: d.Deleted, Language: d.Language, Model: d.Model, Version: d.Version,
		Position: uint64(d.Position), CreatedAt: d.CreatedAt, UpdatedAt: d.UpdatedAt, Slug: d.Slug,
		Name: name, Description: description, Tags: d.Tags, Content: content,
	}
	// The mapping is strict: a language that it does not know is a refusal.
	if field := localized(d.Language); field != "" {
		out.Loc = map[string]string{field: name + "\n" + description}
		out.LocBody = map[string]string{field: content}
	}
	return out
}

// localized names the field with the analyzer for a language tag such as de or zh-Hant.
func localized(language string) string {
	primary, _, _ := strings.Cut(strings.ToLower(language), "-")
	switch primary {
	case "de", "fr", "es", "ru":
		return primary
	case "zh", "ja", "ko":
		return "cjk"
	}
	return ""
}

// line is a document as two lines of a bulk request. The version is the position, so that the
// younger of two wins in whichever order they come, and a repeat is harmless.
func line(d projections.Document) ([]byte, error) {
	action, err := json.Marshal(map[string]any{"index": map[string]any{
		"_id": d.ID, "routing": d.Org, "version": d.Position, "version_type": "external_gte",
	}})
	if err != nil {
		return nil, err
	}
	source, err := json.Marshal(toDocument(d))
	if err != nil {
		return nil, fmt.Errorf("encode preset %s: %w", d.ID, err)
	}
	return fmt.Appendf(action, "\n%s\n", source), nil
}
