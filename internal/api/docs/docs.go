// Package docs serves the pages that explain the HTTP API: the OpenAPI document, made readable by
// Redoc, and the table of error codes. Everything they need is embedded and nothing else may be
// loaded: the pages work without a network, and tell no one that they were read.
package docs

import (
	"bytes"
	"compress/gzip"
	"embed"
	"html/template"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// policy lets a page load from its own origin alone, and neither scripts nor styles stand in the
// page. Redoc adds an empty style element and fills it by script, so what is empty is allowed, by
// its hash.
const policy = "default-src 'none'; script-src 'self'; " +
	"style-src 'self' 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='; " +
	"img-src 'self' data:; font-src 'self' data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

const (
	page  = "text/html; charset=utf-8"
	redoc = "redoc-3.0.1.js" // with its version, so that it can be kept for ever
)

//go:embed assets/docs.js assets/docs.css assets/redoc-3.0.1.js.gz assets/redoc.LICENSE.txt
var assets embed.FS

//go:embed docs.html errors.html
var pages embed.FS

var templates = template.Must(template.ParseFS(pages, "*.html"))

// Handler serves /docs and what is below it, about the OpenAPI document at specURL, a path on the
// same origin.
func Handler(specURL string) http.Handler {
	mux := http.NewServeMux()
	docs := rendered("docs.html", specURL)
	mux.Handle("GET /docs", docs)
	mux.Handle("GET /docs/{$}", docs)
	mux.HandleFunc("GET /docs/assets/"+redoc, serveRedoc)
	mux.HandleFunc("GET /docs/assets/{file}", serveAsset)
	return mux
}

// Code is an error code as problems carry it.
type Code struct {
	Code    string // snake_case; the anchor of its row
	Status  int    // of the HTTP answer
	Meaning string // one sentence
}

// Errors serves the table of codes that the type of a problem points into, as /docs/errors#<code>.
func Errors(codes []Code) http.Handler {
	sorted := slices.SortedFunc(slices.Values(codes), func(a, b Code) int {
		return strings.Compare(a.Code, b.Code)
	})
	return rendered("errors.html", sorted)
}

// rendered serves a page that is the same for everyone. It panics if the page cannot be made: it is
// embedded.
func rendered(name string, data any) http.Handler {
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, name, data); err != nil {
		panic(err)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secure(w.Header())
		w.Header().Set("Content-Type", page)
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(b.Bytes()))
	})
}

func serveAsset(w http.ResponseWriter, r *http.Request) {
	secure(w.Header())
	w.Header().Set("Cache-Control", "max-age=300")
	http.ServeFileFS(w, r, assets, "assets/"+r.PathValue("file")) //nolint:gosec // what is embedded is public
}

// serveRedoc sends the script as it is embedded, compressed; to those who cannot read that,
// unpacked.
func serveRedoc(w http.ResponseWriter, r *http.Request) {
	secure(w.Header())
	file, err := assets.Open("assets/" + redoc + ".gz")
	if err != nil {
		panic(err)
	}
	defer func() { _ = file.Close() }() // it is embedded
	w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	w.Header().Set("Vary", "Accept-Encoding")
	var script io.Reader = file
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		w.Header().Set("Content-Encoding", "gzip")
	} else if script, err = gzip.NewReader(file); err != nil {
		panic(err)
	}
	_, _ = io.Copy(w, script) //nolint:gosec // it is embedded, and no bomb
}

func secure(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
}
