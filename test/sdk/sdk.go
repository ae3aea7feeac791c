// Package sdk checks a running server with OpenAI's own SDKs, for Python and for Node: what they
// can do with OpenAI they are to do with presets. The SDKs are installed once, into the user's
// cache.
package sdk

import (
	"context"
	"embed"
)

//go:embed python node/check.mjs node/package.json node/package-lock.json
var files embed.FS

// openAI is the kit of OpenAI's SDKs.
var openAI = Kit{Name: "sdk", Files: files}

// Python runs the checks of the SDK for Python against the server at url, as the owner of key, and
// returns what they printed. Variables of the preset are given as name=value. The error says what
// did not hold; it is [os/exec.ErrNotFound] where there is no python3.
func Python(ctx context.Context, url, key, preset string, variables ...string) ([]byte, error) {
	return openAI.Python(ctx, server(url, key), append([]string{preset}, variables...)...)
}

// Node runs the checks of the SDK for Node. See [Python]; the error is [os/exec.ErrNotFound] where
// there is no node or no npm.
func Node(ctx context.Context, url, key, preset string, variables ...string) ([]byte, error) {
	return openAI.Node(ctx, server(url, key), append([]string{preset}, variables...)...)
}

func server(url, key string) []string {
	return []string{"PRELUDE_URL=" + url, "PRELUDE_API_KEY=" + key}
}
