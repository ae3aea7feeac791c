package eventlog_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"prelude/domain"
	"prelude/internal/eventlog"
)

const bareA, bareB = "01hzx3k5v7q9w2e4r6t8y0abcd", "7zzzzzzzzzzzzzzzzzzzzzzzzz"

// foreignNames are names of other applications' streams: as public examples of event stores have them, and such as are
// nearly ours.
var foreignNames = []string{
	"", "-", "_", ".", "a", "user", "user-", "-1_2", "user-42", "user-123_456", "User-" + bareA + "_" + bareB,
	"order-1", "order-9d5a1b6e-3f0e-4a3b-9d2c-7e1f2a3b4c5d", "shoppingCart-42", "account-1_x", "session-abc",
	"session-abc_def", "preset-1", "preset-1_1", "org-1", "org-acme", "org-system", "org", "org_" + bareA,
	"claim-1", "claim-2026_0042", "claim-system_identity", "claim-policy.42.name", "log-system", "log-system_other",
	"log-" + bareA + "_identity", "log-2026-12-01", "log-system_identity_", "apikey-live_123", "completion-1",
	"$ce-user", "$$user-42", "$$user-" + bareA + "_" + bareB, "$et-UserRegistered", "$streams", "$projections-$all",
	"$user-" + bareA + "_" + bareB, "users-" + bareA + "_" + bareB, "team-" + bareA + "_" + bareB,
	"user-" + bareA, "user-" + bareA + "_", "user-system_" + bareA, "preset-system_" + bareA,
	"org-" + bareA + "_", "org-" + bareA + "_" + bareB, "org-" + bareA + "x", "org- " + bareA,
	"user-" + bareA + "-" + bareB, "user-" + bareA + "_" + bareB + "_" + bareB, "user-" + bareA + "_usr_" + bareB,
	"user-org_" + bareA + "_" + bareB, "org-org_" + bareA, "user-" + bareA + "_8" + bareB[1:],
	"user-" + strings.ToUpper(bareA) + "_" + bareB, "user-" + bareA + "_" + strings.ReplaceAll(bareB, "z", "u"),
	"user-" + bareA + "_" + bareB + "\x00", "user-" + bareA + "_" + bareB + "\n", "\x00", "user-\xff\xfe",
	"пользователь-42", "用户-42", "user-" + strings.Repeat("я", 13) + "_" + bareB, "org-" + strings.Repeat("７", 26),
	strings.Repeat("x", 300), "user-" + strings.Repeat("1", 300), "user-" + bareA + "_" + strings.Repeat("1", 300),
	"claim-" + bareA + "_preset", "claim-" + bareA + "_preset.org", "claim-" + bareA + "_preset.org.",
	"claim-" + bareA + "_.org.a", "claim-" + bareA + "_preset.a.b", "claim-" + bareA + "_Preset.org.a",
	"claim-" + bareA + "_preset.org.A", "claim-" + bareA + "_preset.org.a b", "claim-acme_preset.org.a",
	"claim-system_org." + bareA + ".a", "claim-system_org.org." + strings.Repeat("a", 65),
}

func TestParseStream_tells_foreign_streams(t *testing.T) {
	t.Parallel()
	for _, name := range foreignNames {
		if s, err := eventlog.ParseStream(name); !errors.Is(err, eventlog.ErrForeign) || s != (eventlog.Stream{}) {
			t.Errorf("%q is read as %+v, %v", name, s, err)
		}
	}
}

// bareID draws an id without its prefix.
func bareID() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		var b [16]byte
		copy(b[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
		return domain.EncodeID("", b)
	})
}

// own draws a stream of ours from any of the constructors.
func own() *rapid.Generator[eventlog.Stream] {
	return rapid.Custom(func(t *rapid.T) eventlog.Stream {
		o, id := domain.OrgID("org_"+bareID().Draw(t, "org")), bareID().Draw(t, "id")
		slug := rapid.StringMatching(`[a-z0-9][a-z0-9\-]{0,62}`).Draw(t, "slug")
		return rapid.SampledFrom([]eventlog.Stream{
			eventlog.OrgStream(o),
			eventlog.UserStream(o, domain.UserID("usr_"+id)),
			eventlog.APIKeyStream(o, domain.APIKeyID("key_"+id)),
			eventlog.PresetStream(o, domain.PresetID("prs_"+id)),
			eventlog.SessionStream(o, domain.SessionID("ses_"+id)),
			eventlog.CompletionStream(o, domain.ReplyID("rpl_"+id)),
			eventlog.ClaimStream(o, "preset", "org", slug),
			eventlog.ClaimStream(o, "preset", "usr_"+id, slug),
			eventlog.ClaimStream(o, "handle", "org", rapid.StringMatching(`[0-9a-f]{32}`).Draw(t, "mac")),
			eventlog.ClaimStream(o, "turn", "org", "owner"),
			eventlog.ClaimStream("", "org", "org", slug),
			eventlog.IdentityStream,
		}).Draw(t, "stream")
	})
}

// TestAStreamsNameIsReadBack: whatever a constructor makes.
func TestAStreamsNameIsReadBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := own().Draw(t, "of ours")
		if back, err := eventlog.ParseStream(s.String()); err != nil || back != s {
			t.Fatalf("%s is read as %+v, %v", s, back, err)
		}
	})
}

// TestAStreamThatIsNearlyOursIsForeign: one character changed, added or taken away where no other name of ours comes
// of it.
func TestAStreamThatIsNearlyOursIsForeign(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := own().Filter(func(s eventlog.Stream) bool { return s.Category != eventlog.ClaimCategory }).Draw(t, "of ours")
		name := s.String()
		at := rapid.IntRange(0, len(name)-1).Draw(t, "at")
		other := rapid.SampledFrom([]string{"A", "i", "l", "o", "u", "U", "-", "_", ".", " ", "$", "/", "\x00", "я", ""}).
			Draw(t, "other")
		changed := name[:at] + other + name[at+1:]
		if rapid.Bool().Draw(t, "add") && other != "" {
			changed = name[:at] + other + name[at:]
		}
		if changed == name {
			t.Skip("nothing is changed")
		}
		if back, err := eventlog.ParseStream(changed); !errors.Is(err, eventlog.ErrForeign) {
			t.Fatalf("%q is read as %+v, %v", changed, back, err)
		}
	})
}

// TestParseStream_gives_only_names_that_are_written_so: whatever is taken for ours is written back as it was.
func TestParseStream_gives_only_names_that_are_written_so(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.SampledFrom([]string{"org", "user", "claim", "log", "system", "identity", "-", "_",
			".", "preset", bareA, bareB, "$", "a", "7"}), 0, 9).Draw(t, "parts")
		name := strings.Join(parts, "")
		if s, err := eventlog.ParseStream(name); err == nil && s.String() != name {
			t.Fatalf("%q is read as %+v, which is %q", name, s, s)
		}
	})
}

func TestParseStream_needs_no_memory(t *testing.T) {
	name := eventlog.UserStream("org_"+bareA, "usr_"+bareB).String()
	claim := eventlog.ClaimStream("org_"+bareA, "handle", "org", strings.Repeat("ab", 16)).String()
	if n := testing.AllocsPerRun(100, func() {
		for _, s := range []string{name, claim, "user-42"} {
			_, _ = eventlog.ParseStream(s) // what it says is tested elsewhere
		}
	}); n > 0 {
		t.Errorf("it allocates %v times", n)
	}
}

// TestDecode_of_deep_JSON ends at the depth that its reader allows, wherever it is: in no time, and on no deep stack.
func TestDecode_of_deep_JSON(t *testing.T) {
	t.Parallel()
	deep := []byte(strings.Repeat(`{"by":[`, 50_000) + strings.Repeat("]}", 50_000))
	good := eventlog.Raw{Stream: stream.String(), Type: "preset.renamed.v1", Data: []byte("{}"), Meta: encodedMeta}
	data, metadata := good, good
	data.Data, metadata.Meta = deep, deep
	for _, raw := range []eventlog.Raw{data, metadata} {
		began := time.Now()
		if _, err := eventlog.Decode(raw); err == nil || errors.Is(err, eventlog.ErrForeign) {
			t.Errorf("it is read: %v", err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %s", took)
		}
		raw.Stream = "user-42"
		if _, err := eventlog.Decode(raw); !errors.Is(err, eventlog.ErrForeign) {
			t.Errorf("of others it says %v", err)
		}
	}
}

func TestStored_refuses_what_no_event_has(t *testing.T) {
	t.Parallel()
	for _, p := range []eventlog.Position{0, 1, 1<<63 - 1} {
		if got, err := p.Stored(); err != nil || eventlog.Position(got) != p {
			t.Errorf("%d is stored as %d, %v", p, got, err)
		}
	}
	for _, p := range []eventlog.Position{eventlog.End, 1 << 63} {
		if got, err := p.Stored(); !errors.Is(err, eventlog.ErrNoPosition) || got != 0 {
			t.Errorf("%d is stored as %d, %v", p, got, err)
		}
	}
}
