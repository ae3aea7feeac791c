package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
)

// What the speed of the program is held against, in a process of its own: the same work without a log, rights,
// versions, receipts or a second reader. upstreamVar is where its relay asks.
const (
	asBaseline  = "baseline"
	upstreamVar = "PRELUDE_TEST_UPSTREAM"
)

// baseline serves until its input ends.
func baseline() error {
	pool, err := pgxpool.New(context.Background(), os.Getenv("DATABASE_URL"))
	if err != nil {
		return err
	}
	defer pool.Close()
	_, err = pool.Exec(context.Background(), `CREATE TABLE IF NOT EXISTS public.baseline
		(id text PRIMARY KEY, org text NOT NULL, slug text NOT NULL, body jsonb NOT NULL, at timestamptz NOT NULL DEFAULT now())`)
	if err != nil {
		return err
	}
	b := bare{pool: pool, upstream: os.Getenv(upstreamVar)}
	r := chi.NewRouter()
	r.Post("/presets", b.insert)
	r.Get("/presets/{id}", b.find)
	r.Post("/relay", b.relay)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("Prelude answers at http://" + l.Addr().String())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // it ends with the test
		os.Exit(0)
	}()
	return http.Serve(l, r)
}

type bare struct {
	pool     *pgxpool.Pool
	upstream string
}

func answerJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the caller has left
}

func (b bare) insert(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Slug         string `json:"slug"`
		Name         string `json:"name"`
		Scope        string `json:"scope"`
		Model        string `json:"model"`
		Instructions string `json:"instructions"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		answerJSON(w, 400, err.Error())
		return
	}
	id := uuid.NewString()
	text, err := json.Marshal(body)
	if err == nil {
		_, err = b.pool.Exec(r.Context(), `INSERT INTO public.baseline (id, org, slug, body) VALUES ($1, 'acme', $2, $3)`,
			id, body.Slug, text)
	}
	if err != nil {
		answerJSON(w, 500, err.Error())
		return
	}
	answerJSON(w, 201, map[string]any{"id": id, "slug": body.Slug, "draft": body})
}

func (b bare) find(w http.ResponseWriter, r *http.Request) {
	var slug string
	var body json.RawMessage
	err := b.pool.QueryRow(r.Context(), `SELECT slug, body FROM public.baseline WHERE org = 'acme' AND id = $1`,
		chi.URLParam(r, "id")).Scan(&slug, &body)
	if err != nil {
		answerJSON(w, 404, err.Error())
		return
	}
	answerJSON(w, 200, map[string]any{"id": chi.URLParam(r, "id"), "slug": slug, "draft": body})
}

// relay adds the instructions, passes every chunk on as it comes, and keeps the answer.
func (b bare) relay(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Content string `json:"content"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		answerJSON(w, 400, err.Error())
		return
	}
	body, err := json.Marshal(map[string]any{"model": "m", "stream": true, "messages": []map[string]string{
		{"role": "system", "content": "Be kind."}, {"role": "user", "content": in.Content}}})
	if err != nil {
		answerJSON(w, 500, err.Error())
		return
	}
	req, err := http.NewRequestWithContext(r.Context(), "POST", b.upstream+"/chat/completions", bytes.NewReader(body))
	if err != nil {
		answerJSON(w, 500, err.Error())
		return
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := relayClient.Do(req)
	if err != nil {
		answerJSON(w, 502, err.Error())
		return
	}
	defer func() { _ = resp.Body.Close() }()
	w.Header().Set("Content-Type", "text/event-stream")
	flusher := http.NewResponseController(w)
	var answer strings.Builder
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok || data == "[DONE]" {
			continue
		}
		var chunk struct {
			Choices []struct {
				Delta struct {
					Content string `json:"content"`
				} `json:"delta"`
			} `json:"choices"`
		}
		if err := json.Unmarshal([]byte(data), &chunk); err != nil || len(chunk.Choices) == 0 {
			continue
		}
		answer.WriteString(chunk.Choices[0].Delta.Content)
		if _, err := fmt.Fprintf(w, "event: reply.delta\ndata: %s\n\n", data); err != nil {
			return
		}
		if err := flusher.Flush(); err != nil {
			return
		}
	}
}

var relayClient = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 200}}
