package api

import (
	"crypto/sha256"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"
)

// What another instance asked for opens that, and not for long: whoever sees a request cannot send it later.
func TestRelay_takes_what_a_peer_asks_for_now(t *testing.T) {
	t.Parallel()
	r := &Relay{MAC: func(purpose string, text []byte) []byte {
		sum := sha256.Sum256(append([]byte(purpose), text...))
		return sum[:]
	}}
	const uri = "/internal/replies/rpl_1/stream?from=0"
	now := time.Now().Unix()
	for name, c := range map[string]struct {
		at     int64
		signed string
		method string
		uri    string
		want   bool
	}{
		"now":           {at: now, want: true},
		"50 s ago":      {at: now - 50, want: true},
		"62 s ago":      {at: now - 62},
		"in 50 s":       {at: now + 50, want: true},
		"in 2 min":      {at: now + 120},
		"another time":  {at: now, signed: strconv.FormatInt(now-1, 10)},
		"another way":   {at: now, method: http.MethodPost},
		"another reply": {at: now, uri: "/internal/replies/rpl_2/stream?from=0"},
	} {
		at := strconv.FormatInt(c.at, 10)
		signed, method, asked := at, http.MethodGet, uri
		if c.signed != "" {
			signed = c.signed
		}
		if c.method != "" {
			method = c.method
		}
		if c.uri != "" {
			asked = c.uri
		}
		req := httptest.NewRequest(method, asked, http.NoBody)
		req.Header.Set(timeHeader, at)
		req.Header.Set("Authorization", "Bearer "+r.token(http.MethodGet, uri, signed))
		if got := r.fromPeer(req); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
	if r.fromPeer(httptest.NewRequest(http.MethodGet, uri, http.NoBody)) {
		t.Error("a request without a time is taken")
	}
}
