package eventlog_test

import (
	"strings"
	"testing"

	"prelude/domain"
	"prelude/internal/eventlog"
)

const (
	sevens = "77777777777777777777777777"
	acme   = domain.OrgID("org_" + sevens)
)

func TestStreams(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		category string
		stream   eventlog.Stream
		name     string
		object   string
	}{
		{"org", eventlog.OrgStream(acme), "org-" + sevens, string(acme)},
		{"user", eventlog.UserStream(acme, "usr_"+sevens), "user-" + sevens + "_" + sevens, "usr_" + sevens},
		{"apikey", eventlog.APIKeyStream(acme, "key_"+sevens), "apikey-" + sevens + "_" + sevens,
			"key_" + sevens},
		{"preset", eventlog.PresetStream(acme, "prs_"+sevens), "preset-" + sevens + "_" + sevens,
			"prs_" + sevens},
		{"session", eventlog.SessionStream(acme, "ses_"+sevens), "session-" + sevens + "_" + sevens,
			"ses_" + sevens},
		{"completion", eventlog.CompletionStream(acme, "rpl_"+sevens),
			"completion-" + sevens + "_" + sevens, "rpl_" + sevens},
		{"claim of an org's preset", eventlog.ClaimStream(acme, "preset", "org", "support-tone"),
			"claim-" + sevens + "_preset.org.support-tone", ""},
		{"claim of a user's preset", eventlog.ClaimStream(acme, "preset", "usr_"+sevens, "mine"),
			"claim-" + sevens + "_preset." + sevens + ".mine", ""},
		{"claim of an org", eventlog.ClaimStream("", "org", "org", "acme"),
			"claim-system_org.org.acme", ""},
		{"log", eventlog.IdentityStream, "log-system_identity", ""},
	} {
		t.Run(c.category, func(t *testing.T) {
			t.Parallel()
			if got := c.stream.String(); got != c.name {
				t.Errorf("its name is %s, want %s", got, c.name)
			}
			if back, err := eventlog.ParseStream(c.name); err != nil || back != c.stream {
				t.Errorf("its name is read as %+v, %v", back, err)
			}
			if got := c.stream.Object(); got != c.object {
				t.Errorf("it is about %q, want %q", got, c.object)
			}
			back, ok := eventlog.ObjectStream(acme, c.object)
			if ok != (c.object != "") || ok && back != c.stream {
				t.Errorf("its object's stream is %+v, %t", back, ok)
			}
		})
	}
}

func TestIdsWithoutAStream(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"", "prs_", "prs_1", "msg_" + sevens, "evt_" + sevens, sevens,
		"org_" + strings.Repeat("6", 26), "prs_" + strings.ToUpper(sevens) + "A", "prs_" + sevens + "_x"} {
		if s, ok := eventlog.ObjectStream(acme, id); ok {
			t.Errorf("%q has the stream %s", id, s)
		}
	}
}
