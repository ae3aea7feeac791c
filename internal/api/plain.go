package api

import (
	"mime"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"prelude/domain"
)

// plain refuses NUL and what is not UTF-8 in a path or a query: no name of ours has them, and Postgres takes
// neither. A parameter that is there twice is refused too, where it is not a list.
func (s *Server) plain(ctx huma.Context, next func(huma.Context)) {
	u := ctx.URL()
	if !isPlain(u.Path) {
		err := domain.ErrNotFound
		if openAIPath(u.Path) {
			err = errModelNotFound
		}
		s.refuse(ctx, err)
		return
	}
	for name, values := range u.Query() {
		if slices.ContainsFunc(values, func(v string) bool { return !isPlain(v) }) && plainName.MatchString(name) {
			s.refuse(ctx, bad("query."+name, "encoding", "must be UTF-8 without NUL"))
			return
		}
	}
	for _, p := range ctx.Operation().Parameters {
		if p.In == "query" && len(u.Query()[p.Name]) > 1 && (p.Explode == nil || !*p.Explode) {
			s.refuse(ctx, bad("query."+p.Name, "duplicate", "is there twice"))
			return
		}
	}
	next(ctx)
}

func isPlain(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

// isJSON refuses a body that says of itself that it is something else. One that says nothing is read as JSON.
func (s *Server) isJSON(ctx huma.Context, next func(huma.Context)) {
	takes, sent := ctx.Operation().RequestBody, ctx.Header("Content-Type")
	if takes == nil || sent == "" {
		next(ctx)
		return
	}
	media, _, err := mime.ParseMediaType(sent)
	patch := media == "application/merge-patch+json" && ctx.Method() == http.MethodPatch
	if err != nil || media != "application/json" && !patch {
		s.refuse(ctx, unsupportedMedia())
		return
	}
	next(ctx)
}

func unsupportedMedia() *Problem {
	return problem(http.StatusUnsupportedMediaType, "unsupported_media_type", "The body must be application/json.")
}
