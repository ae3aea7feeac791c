package main

import (
	"testing"

	"prelude/test/sdk"
)

// TestSDKs lets the official OpenAI SDKs of Python and Node list models, complete and stream.
func TestSDKs(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("installs the SDKs")
	}
	r := start(t)
	r.do("POST", "/v1/presets", doc{"slug": "sdk-tone", "name": "SDK tone", "scope": "org", "model": "demo",
		"instructions": "Speak of {{product}}.",
		"variables":    []doc{{"name": "product", "type": "string", "required": true}}}).want(201)
	r.do("POST", "/v1/presets/sdk-tone/publish", doc{"labels": []string{"production"}}).want(201)
	t.Run("python", func(t *testing.T) {
		t.Parallel()
		if out, err := sdk.Python(t.Context(), r.url, r.key, "sdk-tone", "product=shoes"); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	})
	t.Run("node", func(t *testing.T) {
		t.Parallel()
		if out, err := sdk.Node(t.Context(), r.url, r.key, "sdk-tone", "product=shoes"); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	})
}
