package pgserver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"runtime"
	"strconv"
	"syscall"
)

// account is the unprivileged user that Postgres runs as where this process is root, as which
// Postgres refuses to run.
type account struct{ uid, gid int }

// accountFor chooses the account: nil unless root; whoever owns the data folder; else a system
// user.
func accountFor(data string) (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	if runtime.GOOS != "linux" {
		return nil, errors.New("run as root, Prelude keeps a Postgres of its own on Linux only: " +
			"run it as another user, or set DATABASE_URL")
	}
	if info, err := os.Stat(data); err == nil {
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 {
			return &account{int(st.Uid), int(st.Gid)}, nil
		}
	}
	for _, name := range []string{"postgres", "nobody"} {
		if a, err := lookup(name); err == nil {
			return a, nil
		}
	}
	return nil, errors.New("there is neither a user postgres nor a user nobody for Postgres to run as")
}

func lookup(name string) (*account, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.Atoi(u.Gid)
	return &account{uid, gid}, err
}

// give makes the account the owner of path and all below it.
func (a *account) give(path string) error {
	if a == nil {
		return nil
	}
	err := a.giveBelow(path)
	if err != nil {
		return fmt.Errorf("give the folder to the user of Postgres: %w", err)
	}
	return nil
}

// giveBelow walks within path: a link that is put there meanwhile leads nowhere else.
func (a *account) giveBelow(path string) error {
	root, err := os.OpenRoot(path)
	if err != nil {
		return err
	}
	err = fs.WalkDir(root.FS(), ".", func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return root.Lchown(p, a.uid, a.gid)
	})
	return errors.Join(err, root.Close())
}

// command prepares a program that works in the folders. The account may not be able to walk to them
// (below /root, say), so it gets them as open files, whose names under /proc it may enter all the
// same. paths are the folders' names as the program is to use them.
func (a *account) command(
	ctx context.Context, program string, folders []string, args func(paths []string) []string,
) (*exec.Cmd, func(), error) {
	if a == nil {
		cmd := exec.CommandContext(ctx, program, args(folders)...)
		cmd.Env, cmd.Dir = environment(), "/"
		return cmd, func() {}, nil
	}
	var files []*os.File
	closeAll := func() {
		for _, f := range files {
			_ = f.Close()
		}
	}
	var paths []string
	for i, folder := range folders {
		f, err := os.Open(folder)
		if err != nil {
			closeAll()
			return nil, nil, fmt.Errorf("open a folder of Postgres: %w", err)
		}
		files, paths = append(files, f), append(paths, fmt.Sprintf("/proc/self/fd/%d", 3+i))
	}
	cmd := exec.CommandContext(ctx, program, args(paths)...)
	cmd.Env, cmd.Dir, cmd.ExtraFiles = environment(), "/", files
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)},
	}
	return cmd, closeAll, nil
}

// environment is all that Postgres sees of ours: no secrets, and no PG… that would change it.
func environment() []string {
	env := []string{"LC_ALL=C", "HOME=/"}
	for _, name := range []string{"PATH", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}
