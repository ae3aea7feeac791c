package eventlog_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"prelude/domain"
	"prelude/internal/eventlog"
)

// The versions of an event: its colour was spelt otherwise at first, and nobody counted the coats.
type (
	paintedOnce struct {
		Colour string        `json:"color"`
		Note   domain.Secret `json:"note"`
		At     time.Time     `json:"at"`
	}
	painted struct {
		Colour string        `json:"colour"`
		Coats  int           `json:"coats,omitempty"`
		Note   domain.Secret `json:"note"`
		At     time.Time     `json:"at"`
	}
)

const (
	first  = "preset.painted.v1"
	second = "preset.painted.v2"
)

func british(old json.RawMessage) (json.RawMessage, error) {
	return bytes.Replace(old, []byte(`"color"`), []byte(`"colour"`), 1), nil
}

// asIs is an upcast that forgets what it is for.
func asIs(old json.RawMessage) (json.RawMessage, error) { return old, nil }

// An event goes through all that is laid down for a change: a version, then another that is read before it is written,
// then that alone with an upcast of the first. At each step the corpus asks for a sample of every version there was, and
// reads them all.
func TestCorpus_of_an_event_that_changes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	alone := eventlog.NewRegistry([]eventlog.Kept{{Name: first, Event: paintedOnce{}}}, nil)
	both := eventlog.NewRegistry([]eventlog.Kept{{Name: first, Event: paintedOnce{}},
		{Name: second, Event: painted{}, Unwritten: true}}, nil)
	up := func(change func(json.RawMessage) (json.RawMessage, error)) eventlog.Registry {
		return eventlog.NewRegistry([]eventlog.Kept{{Name: second, Event: painted{}}},
			map[string]eventlog.Upcast{first: {To: second, Change: change}})
	}
	for _, c := range []struct {
		what          string
		registry      eventlog.Registry
		missing, gone string // before what can be made is
	}{
		{"its first version", alone, first, ""},
		{"the next is read", both, second, ""},
		{"the next is written", up(british), "", ""},
		{"the upcast is left out", eventlog.NewRegistry([]eventlog.Kept{{Name: second, Event: painted{}}}, nil), "", first},
	} {
		corpus := corpus{dir, c.registry}
		missing, gone := corpus.gaps(t)
		if strings.Join(missing, " ") != c.missing || strings.Join(gone, " ") != c.gone {
			t.Errorf("%s: missing are %v, gone %v", c.what, missing, gone)
		}
		corpus.complete(t)
		if missing, _ := corpus.gaps(t); missing != nil {
			t.Errorf("%s: missing are still %v", c.what, missing)
		}
		for _, name := range c.registry.Names() {
			if diff := corpus.changed(t, name); diff != "" {
				t.Errorf("%s: %s: %s", c.what, name, diff)
			}
		}
	}
	t.Run("an upcast that loses something is found", func(t *testing.T) {
		if diff := (corpus{dir, up(asIs)}).changed(t, first); !strings.Contains(diff, "Colour") {
			t.Errorf("found is %q", diff)
		}
		fails := func(json.RawMessage) (json.RawMessage, error) { return nil, errors.ErrUnsupported }
		if diff := (corpus{dir, up(fails)}).changed(t, first); !strings.Contains(diff, errors.ErrUnsupported.Error()) {
			t.Errorf("found is %q", diff)
		}
	})
	t.Run("the sample of an older version is asked for and not made up", func(t *testing.T) {
		if err := os.Remove((corpus{dir: dir}).file(first)); err != nil {
			t.Fatal(err)
		}
		c := corpus{dir, up(british)}
		c.complete(t)
		if missing, _ := c.gaps(t); !slices.Equal(missing, []string{first}) {
			t.Errorf("missing are %v", missing)
		}
	})
}
