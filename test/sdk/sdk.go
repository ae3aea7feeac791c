// Package sdk checks a running server with OpenAI's own SDKs, for Python and for Node: what they
// can do with OpenAI they are to do with presets. The SDKs are installed once, into the user's
// cache.
package sdk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

//go:embed python node/check.mjs node/package.json node/package-lock.json
var files embed.FS

// Python runs the checks of the SDK for Python against the server at url, as the owner of key, and
// returns what they printed. Variables of the preset are given as name=value. The error says what
// did not hold; it is [exec.ErrNotFound] where there is no python3.
func Python(ctx context.Context, url, key, preset string, variables ...string) ([]byte, error) {
	dir, err := cached(ctx, "python", "python/requirements.txt", installPython)
	if err != nil {
		return nil, fmt.Errorf("install the sdk for python: %w", err)
	}
	python := filepath.Join(dir, "venv", "bin", "python")
	if _, err := os.Stat(python); err != nil {
		python = "python3"
	}
	cmd := exec.CommandContext(ctx, python, append([]string{"-", preset}, variables...)...)
	cmd.Env = append(os.Environ(), "PYTHONPATH="+filepath.Join(dir, "packages"), "PYTHONUTF8=1")
	return check(cmd, dir, "python/check.py", url, key)
}

// Node runs the checks of the SDK for Node. See [Python]; the error is [exec.ErrNotFound] where
// there is no node or no npm.
func Node(ctx context.Context, url, key, preset string, variables ...string) ([]byte, error) {
	dir, err := cached(ctx, "node", "node/package-lock.json", installNode)
	if err != nil {
		return nil, fmt.Errorf("install the sdk for node: %w", err)
	}
	args := append([]string{"--input-type=module", "-", preset}, variables...)
	cmd := exec.CommandContext(ctx, "node", args...)
	cmd.Env = os.Environ()
	return check(cmd, dir, "node/check.mjs", url, key)
}

// check runs a script, handed over as input, in dir: that is where node looks for its packages.
func check(cmd *exec.Cmd, dir, script, url, key string) ([]byte, error) {
	source, err := files.ReadFile(script)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", script, err)
	}
	cmd.Dir, cmd.Stdin = dir, bytes.NewReader(source)
	cmd.Env = append(cmd.Env, "PRELUDE_URL="+url, "PRELUDE_API_KEY="+key,
		"NO_PROXY=*", "no_proxy=*") // nothing stands between the server and its test
	return run(cmd)
}

// cached returns the directory that install has filled for the versions that lock names. It is
// built under another name and renamed when it is whole, so that neither a crash nor a second run
// leaves half of it.
func cached(
	ctx context.Context, name, lock string, install func(ctx context.Context, dir string) error,
) (string, error) {
	versions, err := files.ReadFile(lock)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", lock, err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache: %w", err)
	}
	cache = filepath.Join(cache, "prelude")
	dir := filepath.Join(cache, fmt.Sprintf("sdk-%s-%.12x", name, sha256.Sum256(versions)))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("make the cache: %w", err)
	}
	half, err := os.MkdirTemp(cache, "sdk-"+name+"-half-")
	if err != nil {
		return "", fmt.Errorf("make the cache: %w", err)
	}
	defer os.RemoveAll(half)
	if err := install(ctx, half); err != nil {
		return "", err
	}
	if err := os.Rename(half, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("keep what was installed: %w", err)
	}
	return dir, nil
}

// installPython makes a virtual environment, or a plain directory of packages where python3 cannot
// make one.
func installPython(ctx context.Context, dir string) error {
	if err := put(dir, "python/requirements.txt"); err != nil {
		return err
	}
	venv, target := filepath.Join(dir, "venv"), []string(nil)
	python := filepath.Join(venv, "bin", "python")
	if _, err := run(exec.CommandContext(ctx, "python3", "-m", "venv", venv)); err != nil {
		if errors.Is(err, exec.ErrNotFound) || ctx.Err() != nil {
			return err
		}
		if err := os.RemoveAll(venv); err != nil {
			return fmt.Errorf("remove half an environment: %w", err)
		}
		python, target = "python3", []string{"--target", filepath.Join(dir, "packages")}
	}
	requirements := filepath.Join(dir, "requirements.txt")
	args := []string{"-m", "pip", "install", "--quiet", "-r", requirements}
	_, err := run(exec.CommandContext(ctx, python, append(args, target...)...))
	return err
}

func installNode(ctx context.Context, dir string) error {
	for _, name := range []string{"node/package.json", "node/package-lock.json"} {
		if err := put(dir, name); err != nil {
			return err
		}
	}
	cmd := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = dir
	_, err := run(cmd)
	return err
}

// put writes one of the files into dir.
func put(dir, name string) error {
	content, err := files.ReadFile(name)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), content, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// run returns what cmd printed; its errors say it too.
func run(cmd *exec.Cmd) ([]byte, error) {
	cmd.WaitDelay = 5 * time.Second // for children that hold the output open
	out, err := cmd.CombinedOutput()
	if err != nil {
		return out, fmt.Errorf("run %s: %w\n%s", filepath.Base(cmd.Path), err, out)
	}
	return out, nil
}
