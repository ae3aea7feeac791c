package llm

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"prelude/commands"
)

// server is a server that speaks OpenAI's chat completions.
type server struct {
	url    string
	key    string
	newer  bool // takes max_completion_tokens
	client *http.Client
	logger *slog.Logger
}

func newServer(cfg Config, limits Timeouts) *server {
	s := &server{url: cfg.BaseURL, key: cfg.APIKey, client: newClient(limits), logger: cfg.Logger}
	if s.logger == nil {
		s.logger = slog.Default()
	}
	if u, err := url.Parse(cfg.BaseURL); err == nil {
		s.newer = ofOpenAI(u.Hostname())
		s.url = u.JoinPath("chat", "completions").String()
	}
	return s
}

// newClient returns a client of its own: the default one waits for ever, keeps two idle connections
// per host, and would follow a redirect with the key in hand. HTTP/1.1 gives each reply a
// connection, so that one that is broken off disturbs no other.
func newClient(limits Timeouts) *http.Client {
	dialer := &net.Dialer{Timeout: limits.Connect}
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           dialer.DialContext,
			TLSHandshakeTimeout:   limits.Connect,
			ResponseHeaderTimeout: limits.FirstToken,
			MaxIdleConns:          64,
			MaxIdleConnsPerHost:   64,
			IdleConnTimeout:       90 * time.Second,
			DisableCompression:    true, // a compressor holds pieces back
		},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
}

// ofOpenAI reports whether host is OpenAI's own, or Azure's of it.
func ofOpenAI(host string) bool {
	host = "." + strings.ToLower(host)
	return strings.HasSuffix(host, ".openai.com") || strings.HasSuffix(host, ".openai.azure.com")
}

func (s *server) stream(
	ctx context.Context, limits Timeouts, model string, req commands.ModelRequest,
) iter.Seq2[commands.Chunk, error] {
	return func(yield func(commands.Chunk, error) bool) {
		ctx, watch := newWatch(ctx, limits)
		defer watch.stop()
		res, err := s.open(ctx, model, req)
		if err != nil {
			yield(commands.Chunk{}, verdict(ctx, err, false, limits))
			return
		}
		defer res.Body.Close()
		body, err := unpacked(res)
		if err != nil {
			yield(commands.Chunk{}, err)
			return
		}
		r := newReply(watch, body)
		for {
			chunk, err := r.next(ctx)
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(commands.Chunk{}, verdict(ctx, err, r.started, limits))
				return
			}
			if !yield(chunk, nil) {
				return
			}
		}
	}
}

// unpacked is a response's body as it was before it was compressed: some servers compress though nobody asks for it.
func unpacked(res *http.Response) (io.Reader, error) {
	switch strings.ToLower(res.Header.Get("Content-Encoding")) {
	case "", "identity":
		return res.Body, nil
	case "gzip", "x-gzip":
		return &gunzip{from: res.Body}, nil
	}
	return nil, &commands.UpstreamError{Code: codeGarbage,
		Detail: "The model's server compressed its reply in a way that was not asked for."}
}

// gunzip reads what is compressed. It begins with the first read: until the server sends something there is nothing to
// begin with.
type gunzip struct {
	from io.Reader
	zip  *gzip.Reader
}

func (g *gunzip) Read(p []byte) (n int, err error) {
	if g.zip == nil {
		if g.zip, err = gzip.NewReader(g.from); err != nil {
			return 0, err
		}
	}
	return g.zip.Read(p)
}

// open sends the request and returns the response if it is a success.
func (s *server) open(
	ctx context.Context, model string, req commands.ModelRequest,
) (*http.Response, error) {
	body := encode(model, req.Request, s.newer)
	out, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return nil, broken("The address of the model's server is not a URL.", false)
	}
	out.Header.Set("Content-Type", "application/json")
	out.Header.Set("Accept", "text/event-stream")
	out.Header.Set("User-Agent", "prelude")
	if s.key != "" {
		out.Header.Set("Authorization", "Bearer "+s.key)
	}
	res, err := s.client.Do(out)
	if err != nil {
		return nil, s.unreached(ctx, err)
	}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return nil, s.refused(ctx, res)
	}
	return res, nil
}

// maxRefusal is how much of a refusal is read.
const maxRefusal = 64 << 10

// refused reads a refusal. Its codes go to the log, for whoever set the server up; its text may quote a person.
func (s *server) refused(ctx context.Context, res *http.Response) error {
	defer res.Body.Close()
	said := refusal{}
	if body, err := unpacked(res); err == nil {
		text, _ := io.ReadAll(io.LimitReader(body, maxRefusal)) // as much as came
		said = readRefusal(text)
	}
	e := refused(res.StatusCode, res.Header, said, false, time.Now())
	s.logger.WarnContext(ctx, "the model's server refused a request", "status", res.StatusCode, "code", word(said.code),
		"type", word(said.kind), "told_as", e.Code)
	return e
}

// unreached says why there was no response. Why a connection was not made goes to the log, for
// whoever set the address up; any other cause may quote the server, so it goes nowhere.
func (s *server) unreached(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return err
	}
	var op *net.OpError
	var timed net.Error
	dialled := errors.As(err, &op) && op.Op == "dial"
	if dialled {
		s.logger.WarnContext(ctx, "model server not reached", "cause", op.Error())
	}
	switch {
	case errors.As(err, &timed) && timed.Timeout():
		return timeout("The model's server did not answer in time.", true)
	case dialled:
		return broken("The model's server cannot be reached.", true)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return cut(false)
	}
	var untrusted *tls.CertificateVerificationError
	if errors.As(err, &untrusted) {
		return broken("The certificate of the model's server is not trusted.", false)
	}
	return broken("The model's server could not be asked.", true)
}
