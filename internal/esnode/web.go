package esnode

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
)

// newWeb makes the server of what clients and load balancers ask over HTTP/1.1.
func newWeb(logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           http.HandlerFunc(answerWeb),
		ReadHeaderTimeout: sortTimeout,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
}

// unclaimed are the paths of a real store's HTTP API that clients ask, and what they are for.
var unclaimed = []struct{ path, what string }{
	{"/subscriptions", "persistent subscriptions"},
	{"/projection", "projections"},
	{"/streams", "streams over HTTP"},
	{"/users", "users"},
	{"/admin", "administration over HTTP"},
	{"/info", "information over HTTP"},
	{"/stats", "statistics"},
	{"/gossip", "gossip over HTTP"},
}

func answerWeb(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/health/live" {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	for _, u := range unclaimed {
		if strings.HasPrefix(r.URL.Path, u.path) {
			text := fmt.Sprintf("This node speaks gRPC and has no %s.", u.what)
			http.Error(w, text, http.StatusNotImplemented)
			return
		}
	}
	http.Error(w, "There is nothing here: this node speaks gRPC, and GET /health/live.", http.StatusNotFound)
}
