package api

import (
	"context"
	"crypto/hmac"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"prelude/commands"
	"prelude/domain"
	"prelude/domain/session"
)

// Relay reaches the replies that other instances make, and lets others reach those that this one makes. It goes one
// hop: what is asked of it for another is answered from this process alone.
type Relay struct {
	// MAC is made with a key that all instances have.
	MAC func(purpose string, text []byte) []byte
	// Address is where a process is reached; empty: nobody knows.
	Address func(ctx context.Context, p session.Producer) (string, error)
	client  http.Client
}

// NewRelay returns a relay. Who does not answer in a moment is not reached; a reply may then take as long as it will.
func NewRelay(mac func(string, []byte) []byte, address func(context.Context, session.Producer) (string, error)) *Relay {
	return &Relay{MAC: mac, Address: address, client: http.Client{
		Transport: &http.Transport{DialContext: (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
			ResponseHeaderTimeout: 3 * time.Second, MaxIdleConnsPerHost: 32, IdleConnTimeout: time.Minute},
		// What it carries is for the one that is asked.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Close ends connections that wait for the next request.
func (r *Relay) Close() { r.client.CloseIdleConnections() }

// timeHeader says when a request to another instance was made, in seconds since 1970.
const timeHeader = "Prelude-Time"

// relayFor is how far that may be from the time at which it arrives: the clocks differ a little.
const relayFor = time.Minute

// token says that a request comes from another instance; it opens that request and no other, and for a while.
func (r *Relay) token(method, uri, at string) string {
	return base64.RawURLEncoding.EncodeToString(r.MAC("internal", []byte(method+" "+uri+" "+at)))
}

// fromPeer says whether a request comes from another instance, and just now.
func (r *Relay) fromPeer(req *http.Request) bool {
	at := req.Header.Get(timeHeader)
	seconds, err := strconv.ParseInt(at, 10, 64)
	if err != nil || time.Since(time.Unix(seconds, 0)).Abs() > relayFor {
		return false
	}
	want := "Bearer " + r.token(req.Method, req.URL.RequestURI(), at)
	return hmac.Equal([]byte(req.Header.Get("Authorization")), []byte(want))
}

var errFar = errors.New("the process that makes the reply is not reached")

// ask sends a request to the process that makes a reply.
func (r *Relay) ask(ctx context.Context, p session.Producer, method, uri string) (*http.Response, error) {
	address, err := r.Address(ctx, p)
	if err != nil {
		return nil, err
	}
	if address == "" {
		return nil, errFar
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(address, "/")+uri, http.NoBody)
	if err != nil {
		return nil, errFar
	}
	at := strconv.FormatInt(time.Now().Unix(), 10)
	req.Header.Set(timeHeader, at)
	req.Header.Set("Authorization", "Bearer "+r.token(method, uri, at))
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errFar, err)
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("%w: it answers %d", errFar, resp.StatusCode)
	}
	return resp, nil
}

func repliesPath(id domain.ReplyID) string { return "/internal/replies/" + url.PathEscape(string(id)) }

// Follow hands on what a reply says where it is made, from its beginning. It returns at the reply's end; an error is
// that of the connection.
func (r *Relay) Follow(ctx context.Context, p session.Producer, id domain.ReplyID, said func(commands.Chunk)) error {
	resp, err := r.ask(ctx, p, http.MethodGet, repliesPath(id)+"/said")
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // it was read to its end, or nobody wants the rest
	for d := json.NewDecoder(resp.Body); ; {
		var c commands.Chunk
		switch err := d.Decode(&c); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return errors.Join(errFar, err)
		}
		said(c)
	}
}

// Cancel ends a reply where it is made, as of a user.
func (r *Relay) Cancel(ctx context.Context, p session.Producer, id domain.ReplyID, by domain.UserID) error {
	resp, err := r.ask(ctx, p, http.MethodPost, repliesPath(id)+"/cancel?by="+url.QueryEscape(string(by)))
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// internal adds the routes for other instances. They are in no document.
func (s *Server) internal(mux *chi.Mux) {
	if s.Relay == nil {
		return
	}
	mux.Get("/internal/replies/{id}/said", s.forPeers(s.relaySaid))
	mux.Post("/internal/replies/{id}/cancel", s.forPeers(s.relayCancel))
}

// forPeers lets other instances in, to a reply that this process makes.
func (s *Server) forPeers(serve func(http.ResponseWriter, *http.Request, *commands.Run)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !s.Relay.fromPeer(r) {
			s.write(w, r, problem(http.StatusUnauthorized, "unauthenticated", "This route is for other instances."))
			return
		}
		run := s.Sessions.Hub.Find(domain.ReplyID(chi.URLParam(r, "id")))
		if run == nil {
			s.write(w, r, problem(http.StatusNotFound, "not_found", "This process does not make that reply."))
			return
		}
		serve(w, r, run)
	}
}

// relaySaid writes what a reply says as it is said, to its end: a chunk a line.
func (s *Server) relaySaid(w http.ResponseWriter, r *http.Request, run *commands.Run) {
	w.Header().Set("Content-Type", "application/jsonl")
	control := http.NewResponseController(w)
	if control.Flush() != nil {
		return
	}
	encoder := json.NewEncoder(w)
	for at, seen := 0, 0; ; {
		p, err := run.Next(r.Context(), at, seen)
		if err != nil || len(p.Text) == 0 && len(p.Pieces) == 0 {
			return // who asked has left, or it has ended
		}
		_ = control.SetWriteDeadline(time.Now().Add(writeFor)) // where it is not supported, none is kept
		for _, c := range p.Chunks(at) {
			if encoder.Encode(c) != nil {
				return
			}
		}
		if control.Flush() != nil {
			return
		}
		at, seen = at+len(p.Text), seen+len(p.Pieces)
	}
}

// relayCancel ends a reply, and answers when its end is in the log.
func (s *Server) relayCancel(w http.ResponseWriter, r *http.Request, run *commands.Run) {
	by := domain.UserID(r.URL.Query().Get("by"))
	if run.Owner != by {
		s.write(w, r, problem(http.StatusNotFound, "not_found", "This process makes no such reply of theirs."))
		return
	}
	end, err := s.Sessions.Hub.Cancel(r.Context(), run, by)
	if err != nil {
		p, _ := toProblem(err) // nobody reads it where who asked has left
		s.write(w, r, p)
		return
	}
	s.json(w, http.StatusOK, map[string]string{"status": end.Status})
}
