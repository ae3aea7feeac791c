package eventlog_test

import (
	"slices"
	"testing"

	"prelude/domain"
	"prelude/domain/session"
	"prelude/internal/eventlog"
	"prelude/internal/eventlog/eventlogtest"
)

// Who appended a text holds it open still: when its key is gone, so is that.
func TestOpen_takes_away_what_lies_open_when_its_key_is_gone(t *testing.T) {
	t.Parallel()
	key := domain.SessionKey("org_1", "ses_1")
	secret := domain.Secret{Key: key, Text: "Plans", Sealed: []byte("sealed")}
	l := &eventlog.Log{Keys: eventlogtest.Without(key)}
	in := eventlog.SessionStream("org_1", "ses_1")
	one, err := l.OpenSecret(t.Context(), in, "title", secret)
	if err != nil || !one.Gone || one.Text != "" {
		t.Errorf("got %+v: %v", one, err)
	}
	records := []eventlog.Record{{Stream: in, Event: session.Renamed{Title: secret}}}
	if keys := records[0].SealedUnder(); !slices.Equal(keys, []domain.KeyID{key}) {
		t.Errorf("it is sealed under %v", keys)
	}
	if err := l.Open(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	if title := records[0].Event.(session.Renamed).Title; !title.Gone || title.Text != "" {
		t.Errorf("got %+v", title)
	}
}
