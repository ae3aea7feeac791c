package sdk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// Kit is a script for Python and one for Node, each with the packages that it needs: the files
// python/check.py and python/requirements.txt, node/check.mjs, node/package.json and
// node/package-lock.json. The packages are installed once, into the user's cache, under the kit's
// name and their versions.
type Kit struct {
	Name  string
	Files fs.FS
}

// Python runs the script for Python with variables (NAME=value) besides those of this process, and
// returns what it printed. The error says what did not hold; it is [exec.ErrNotFound] where there
// is no python3.
func (k Kit) Python(ctx context.Context, env []string, args ...string) ([]byte, error) {
	dir, err := k.cached(ctx, "python", "python/requirements.txt", k.installPython)
	if err != nil {
		return nil, fmt.Errorf("install the packages for python: %w", err)
	}
	python := filepath.Join(dir, "venv", "bin", "python")
	if _, err := os.Stat(python); err != nil {
		python = "python3"
	}
	cmd := exec.CommandContext(ctx, python, append([]string{"-"}, args...)...)
	cmd.Env = append(os.Environ(), "PYTHONPATH="+filepath.Join(dir, "packages"), "PYTHONUTF8=1")
	return k.check(cmd, dir, "python/check.py", env)
}

// Node runs the script for Node. See [Kit.Python]; the error is [exec.ErrNotFound] where there is
// no node or no npm.
func (k Kit) Node(ctx context.Context, env []string, args ...string) ([]byte, error) {
	dir, err := k.cached(ctx, "node", "node/package-lock.json", k.installNode)
	if err != nil {
		return nil, fmt.Errorf("install the packages for node: %w", err)
	}
	cmd := exec.CommandContext(ctx, "node", append([]string{"--input-type=module", "-"}, args...)...)
	cmd.Env = os.Environ()
	return k.check(cmd, dir, "node/check.mjs", env)
}

// check runs a script, handed over as input, in dir: that is where node looks for its packages.
func (k Kit) check(cmd *exec.Cmd, dir, script string, env []string) ([]byte, error) {
	source, err := fs.ReadFile(k.Files, script)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", script, err)
	}
	cmd.Dir, cmd.Stdin = dir, bytes.NewReader(source)
	cmd.Env = append(append(cmd.Env, env...),
		"NO_PROXY=*", "no_proxy=*") // nothing stands between the server and its test
	return run(cmd)
}

// cached returns the directory that install has filled for the versions that lock names. It is
// built under another name and renamed when it is whole, so that neither a crash nor a second run
// leaves half of it.
func (k Kit) cached(
	ctx context.Context, name, lock string, install func(ctx context.Context, dir string) error,
) (string, error) {
	versions, err := fs.ReadFile(k.Files, lock)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", lock, err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache: %w", err)
	}
	cache = filepath.Join(cache, "prelude")
	dir := filepath.Join(cache, fmt.Sprintf("%s-%s-%.12x", k.Name, name, sha256.Sum256(versions)))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("make the cache: %w", err)
	}
	half, err := os.MkdirTemp(cache, k.Name+"-"+name+"-half-")
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
func (k Kit) installPython(ctx context.Context, dir string) error {
	if err := k.put(dir, "python/requirements.txt"); err != nil {
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

func (k Kit) installNode(ctx context.Context, dir string) error {
	for _, name := range []string{"node/package.json", "node/package-lock.json"} {
		if err := k.put(dir, name); err != nil {
			return err
		}
	}
	cmd := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = dir
	_, err := run(cmd)
	return err
}

// put writes one of the files into dir.
func (k Kit) put(dir, name string) error {
	content, err := fs.ReadFile(k.Files, name)
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
