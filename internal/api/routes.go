package api

import (
	"context"

	"github.com/danielgtaylor/huma/v2"
)

// routes lists every route that needs a key, in one screen.
func (s *Server) routes() {
	const get, post, put, patch, del = "GET", "POST", "PUT", "PATCH", "DELETE"

	route(s, post, "/v1/presets", 201, "create-preset", "Create a draft", s.createPreset)
	route(s, get, "/v1/presets", 200, "list-presets", "List presets", s.listPresets)
	route(s, get, "/v1/presets/{id}", 200, "get-preset", "A preset, now or as of", s.getPreset)
	route(s, patch, "/v1/presets/{id}", 200, "edit-preset", "Edit the draft", s.editPreset)
	route(s, del, "/v1/presets/{id}", 200, "delete-preset", "Delete, softly", s.deletePreset)
	route(s, post, "/v1/presets/{id}/restore", 200, "restore-preset", "Undo a deletion", s.restorePreset)
	route(s, post, "/v1/presets/{id}/publish", 201, "publish-preset", "Make the draft a version", s.publishPreset)
	route(s, post, "/v1/presets/{id}/render", 200, "render-preset", "Fill the variables in", s.renderPreset)
	route(s, get, "/v1/presets/{id}/versions", 200, "list-versions", "List versions", s.listVersions)
	route(s, get, "/v1/presets/{id}/versions/{n}", 200, "get-version", "A version", s.getVersion)
	route(s, get, "/v1/presets/{id}/labels", 200, "list-labels", "List labels, now or as of", s.getLabels)
	route(s, get, "/v1/presets/{id}/labels/{label}", 200, "get-label", "A label", s.getLabel)
	route(s, put, "/v1/presets/{id}/labels/{label}", 200, "move-label", "Point a label at a version", s.putLabel)
	route(s, del, "/v1/presets/{id}/labels/{label}", 200, "remove-label", "Take a label away", s.deleteLabel)
	route(s, get, "/v1/presets/{id}/history", 200, "preset-history", "Every event, by replay", s.presetHistory)
	route(s, get, "/v1/search/presets", 200, "search-presets", "Search presets", s.searchPresets)

	route(s, post, "/v1/sessions", 201, "start-session", "Start a session", s.startSession)
	route(s, get, "/v1/sessions", 200, "list-sessions", "List your sessions", s.listSessions)
	route(s, get, "/v1/sessions/{id}", 200, "get-session", "A session, now or as of", s.getSession)
	route(s, patch, "/v1/sessions/{id}", 200, "edit-session", "Change the title", s.editSession)
	route(s, del, "/v1/sessions/{id}", 200, "delete-session", "Delete, softly", s.deleteSession)
	route(s, post, "/v1/sessions/{id}/restore", 200, "restore-session", "Undo a deletion", s.restoreSession)
	route(s, post, "/v1/sessions/{id}/branch", 201, "branch-session", "Go on in another session", s.branchSession)
	route(s, put, "/v1/sessions/{id}/preset", 200, "apply-preset", "Change what answers", s.applyPreset)
	route(s, get, "/v1/sessions/{id}/messages", 200, "list-messages", "Messages and replies", s.listMessages)
	route(s, post, "/v1/sessions/{id}/messages", 201, "post-message", "Post a message", s.postMessage)
	route(s, get, "/v1/sessions/{id}/context", 200, "preview-context", "What the next request holds", s.previewContext)

	route(s, get, "/v1/replies/{id}", 200, "get-reply", "A reply", s.getReply)
	route(s, get, "/v1/replies/{id}/stream", 200, "stream-reply", "Follow or resume a reply", s.streamReply)
	route(s, post, "/v1/replies/{id}/cancel", 200, "cancel-reply", "Cancel a reply", s.cancelReply)
	route(s, get, "/v1/replies/{id}/context", 200, "get-receipt", "What the model saw", s.getReceipt)

	route(s, post, "/v1/chat/completions", 200, "create-completion", "Complete, as OpenAI does", s.completeChat)
	route(s, get, "/v1/models", 200, "list-models", "Models and presets", s.listModels)
	route(s, get, "/v1/models/{id}", 200, "get-model", "A model or preset", s.getModel)

	route(s, get, "/v1/me", 200, "me", "Who you are", s.me)
	route(s, get, "/v1/users", 200, "list-users", "List users", s.listUsers)
	route(s, get, "/v1/users/{id}", 200, "get-user", "A user", s.getUser)
	route(s, post, "/v1/users/{id}/erase", 202, "erase-user", "Destroy all that a user wrote", s.eraseUser)
	route(s, post, "/v1/users", 201, "add-user", "Add a user to the org", s.addUser)
	route(s, get, "/v1/api-keys", 200, "list-api-keys", "List API keys", s.listKeys)
	route(s, post, "/v1/api-keys", 201, "issue-api-key", "Issue an API key", s.issueKey)
	route(s, del, "/v1/api-keys/{id}", 200, "revoke-api-key", "Revoke an API key", s.revokeKey)
	route(s, get, "/v1/audit", 200, "list-audit", "Who did what", s.listAudit)
	route(s, get, "/v1/feed", 200, "feed", "Follow what happens, for analytics", s.feed)
	route(s, get, "/v1/projections", 200, "list-projections", "How the readers of the log are", s.listProjections)
	route(s, post, "/v1/projections/{reader}/unpark", 200, "unpark", "Apply a parked stream again", s.unpark)
	route(s, get, "/v1/usage", 200, "get-usage", "Messages and tokens by day", s.usage)

	s.describe()
}

// bodyBytes is the most that a body may have. Huma refuses one that reaches its limit.
const bodyBytes = 1 << 20

// route adds one operation: the caller is authenticated first, and an error becomes the answer in one place.
func route[I, O any](s *Server, method, path string, status int, id, summary string,
	handle func(context.Context, *I) (*O, error)) {
	op := huma.Operation{Method: method, Path: path, OperationID: id, Summary: summary,
		DefaultStatus: status, SkipValidateBody: true, MaxBodyBytes: bodyBytes + 1,
		Middlewares: huma.Middlewares{s.authenticate, s.plain, s.isJSON},
		Tags:        []string{tagOf(path)}}
	if path == "/v1/chat/completions" {
		op.MaxBodyBytes = chatBodyBytes + 1
	}
	huma.Register(s.api, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := handle(ctx, in)
		if err != nil {
			return nil, s.failed(ctx, path, err)
		}
		return out, nil
	})
}

func tagOf(path string) string {
	for i := len("/v1/"); i < len(path); i++ {
		if path[i] == '/' {
			return path[len("/v1/"):i]
		}
	}
	return path[len("/v1/"):]
}
