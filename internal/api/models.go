package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"prelude/commands"
	"prelude/domain"
	"prelude/domain/preset"
)

// openAIPath says whether a route speaks OpenAI's language.
func openAIPath(path string) bool {
	return strings.HasPrefix(path, "/v1/chat/") || path == modelsPath || strings.HasPrefix(path, modelsPath+"/")
}

const modelsPath = "/v1/models"

// wholeModel lets a model's id hold slashes, escaped or not: the rest of the path is one parameter.
func wholeModel(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if rest, ok := strings.CutPrefix(r.URL.Path, modelsPath+"/"); ok && strings.Contains(rest, "/") {
			r.URL.RawPath = modelsPath + "/" + url.PathEscape(rest)
		}
		next.ServeHTTP(w, r)
	})
}

// modelBody is a model as OpenAI's clients list it.
type modelBody struct {
	ID      string `json:"id" example:"preset:support-tone"`
	Object  string `json:"object" example:"model"`
	Created int64  `json:"created" doc:"Unix seconds"`
	OwnedBy string `json:"owned_by"`
}

type modelList struct {
	Object string      `json:"object" example:"list"`
	Data   []modelBody `json:"data"`
}

const maxModels = 1000

// presetPrefix begins the names of models that are presets.
const presetPrefix = "preset:"

type modelsIn struct{ Query }

func (s *Server) listModels(ctx context.Context, in *modelsIn) (*bodyOnly[modelList], error) {
	if _, err := s.wait(ctx, in.Query, viewsReader); err != nil {
		return nil, err
	}
	out := &bodyOnly[modelList]{modelList{"list", []modelBody{}}}
	presets, err := s.Read.PublishedPresets(ctx, in.Who, maxModels)
	if err != nil {
		return nil, err
	}
	for _, p := range presets {
		out.Body.Data = append(out.Body.Data, presetModel(p))
	}
	for _, r := range s.Sessions.Models.Routes() {
		if len(out.Body.Data) < maxModels {
			out.Body.Data = append(out.Body.Data, routeModel(r))
		}
	}
	return out, nil
}

func presetModel(p preset.Preset) modelBody {
	name := p.Slug
	if p.Scope == preset.UserScope {
		name = "~/" + name
	}
	return modelBody{presetPrefix + name, "model", p.CreatedAt.Unix(), string(p.Org)}
}

func routeModel(r commands.Route) modelBody {
	return modelBody{r.Name, "model", time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Unix(), r.OwnedBy}
}

type modelIn struct {
	Caller
	ID string `path:"id" doc:"a route's name, or preset:<name>" example:"demo"`
}

func (s *Server) getModel(ctx context.Context, in *modelIn) (*bodyOnly[modelBody], error) {
	name, isPreset := strings.CutPrefix(in.ID, presetPrefix)
	if !isPreset {
		r, ok := s.Sessions.Models.Route(in.ID)
		if !ok {
			return nil, errModelNotFound
		}
		return &bodyOnly[modelBody]{routeModel(r)}, nil
	}
	n, ok := commands.ParseName(name)
	if !ok {
		return nil, errModelNotFound
	}
	p, err := s.Presets.Usable(ctx, in.Who, commands.PresetArg{Name: n})
	if err != nil {
		return nil, modelNotFound(err)
	}
	m := presetModel(p)
	m.ID = in.ID
	return &bodyOnly[modelBody]{m}, nil
}

var errModelNotFound = &domain.Error{Kind: domain.NotFound, Code: "model_not_found",
	Detail: "There is no model or preset of this name, or it is not yours to use.",
	Fields: []domain.Field{{Name: "model", Code: "model_not_found",
		Detail: "There is no model or preset of this name, or it is not yours to use."}}}

// modelNotFound: on OpenAI's routes a preset that is not there is a model that is not there.
func modelNotFound(err error) error {
	if errors.Is(err, commands.ErrUnknownPreset) || errors.Is(err, domain.ErrNotFound) ||
		errors.Is(err, preset.ErrNoVersion) || errors.Is(err, commands.ErrUnknownModel) {
		return errModelNotFound
	}
	if errors.Is(err, preset.ErrNotPublished) {
		return preset.ErrNotPublished.With("model")
	}
	return err
}
