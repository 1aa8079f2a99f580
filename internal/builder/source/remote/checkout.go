package remote

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Tree says what of a commit is laid out.
type Tree struct {
	// KeepGitDir makes it a clone with a .git, at a depth of one commit. It needs the whole repository: with a
	// subdirectory there is none, as in BuildKit.
	KeepGitDir bool
	// Submodules lays out the submodules too, and theirs.
	Submodules bool
	// CommitTime gives everything the time of the commit.
	CommitTime bool
}

// Checkout lays out the files of a commit, or of the repository's subdirectory, in the empty directory dir. Modes are
// git's, 0644 and 0755, and times those of the moment unless CommitTime says otherwise.
func (f *Fetcher) Checkout(ctx context.Context, c *Commit, t Tree, dir string) error {
	err := f.checkout(ctx, c, t, dir)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("fetching the git repository %s: %w", c.Repository, err)
	}
	return nil
}

func (f *Fetcher) checkout(ctx context.Context, c *Commit, t Tree, dir string) error {
	m, release, err := f.mirror(ctx, c.Repository, c.ID)
	if err != nil {
		return err
	}
	object := c.ID
	if t.KeepGitDir && c.Tag != "" {
		object = c.Tag
	}
	if err = m.fetch(ctx, c.Ref, object); err != nil {
		release()
		return gitHint(c.Repository, err, "")
	}
	commitTime, err := m.commitTime(ctx, c.ID)
	if err == nil {
		switch {
		case t.KeepGitDir && c.Repository.Subdir == "":
			err = m.clone(ctx, c, object, t, dir)
		default:
			err = f.lay(ctx, m, c.ID, dir)
		}
	}
	release()
	if err == nil && t.Submodules && !(t.KeepGitDir && c.Repository.Subdir == "") {
		err = f.submodules(ctx, c, dir, 0)
	}
	if err == nil && c.Repository.Subdir != "" {
		err = f.onlySubdir(dir, c.Repository.Subdir)
	}
	if err == nil && t.CommitTime {
		err = setTimes(dir, commitTime)
	}
	return err
}

// CommitTime is when a commit was made. Its files are fetched if they are not here.
func (f *Fetcher) CommitTime(ctx context.Context, c *Commit) (time.Time, error) {
	m, release, err := f.mirror(ctx, c.Repository, c.ID)
	if err != nil {
		return time.Time{}, err
	}
	defer release()
	if err := m.fetch(ctx, c.Ref, c.ID); err != nil {
		if ctx.Err() != nil {
			return time.Time{}, context.Cause(ctx)
		}
		return time.Time{}, fmt.Errorf("fetching the git repository %s: %w", c.Repository, gitHint(c.Repository, err, ""))
	}
	return m.commitTime(ctx, c.ID)
}

func (m *mirror) commitTime(ctx context.Context, commit string) (time.Time, error) {
	out, err := m.run(ctx, "log", "-1", "--format=%ct", commit, "--")
	if err != nil {
		return time.Time{}, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	return time.Unix(n, 0), err
}

// lay writes the files of a commit. The index is a temporary one: the mirror is not changed.
func (f *Fetcher) lay(ctx context.Context, m *mirror, commit, dir string) error {
	tmp, err := f.Store.Temp("index")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	_, err = m.git.run(ctx, []string{"GIT_INDEX_FILE=" + filepath.Join(tmp, "index")},
		"--git-dir="+m.dir, "--work-tree="+dir, "-c", "core.bare=false", "-C", dir, "read-tree", "--reset", "-u", commit)
	return err
}

// clone makes a repository of its own in dir, which knows the remote by its address without a password.
func (m *mirror) clone(ctx context.Context, c *Commit, object string, t Tree, dir string) error {
	local := *m.git
	local.local, local.auth = true, nil
	in := func(args ...string) error {
		_, err := local.run(ctx, nil, append([]string{"-C", dir}, args...)...)
		return err
	}
	args := []string{"init", "--quiet", "--template="}
	if len(c.ID) == 64 {
		args = append(args, "--object-format=sha256")
	}
	refspec := "refs/strata/" + object
	if c.Ref != "" {
		refspec += ":" + c.Ref
	}
	steps := [][]string{
		args,
		{"fetch", "--quiet", "-u", "--depth=1", "--no-tags", "--", "file://" + m.dir, refspec},
		{"checkout", "--quiet", "--detach", "FETCH_HEAD"},
		{"config", "remote.origin.url", m.url},
		{"config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*"},
		{"reflog", "expire", "--all", "--expire=now"},
	}
	for _, step := range steps {
		if err := in(step...); err != nil {
			return err
		}
	}
	if err := os.Remove(filepath.Join(dir, ".git", "FETCH_HEAD")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !t.Submodules {
		return nil
	}
	return m.updateSubmodules(ctx, dir)
}

// updateSubmodules brings the submodules of a clone: one commit of each, or all of their history from servers that give
// nothing else, such as those of "dumb" http.
func (m *mirror) updateSubmodules(ctx context.Context, dir string) error {
	args := []string{"-C", dir, "submodule", "--quiet", "update", "--init", "--recursive"}
	_, err := m.git.run(ctx, nil, append(args, "--depth=1")...)
	if err == nil || ctx.Err() != nil || unreachable(err) {
		return err
	}
	_, err = m.git.run(ctx, nil, args...)
	return err
}

// onlySubdir leaves in dir what its directory sub holds.
func (f *Fetcher) onlySubdir(dir, sub string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	// No part of the way may be a link: it could lead anywhere.
	for at, rest := "", sub; rest != ""; {
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		at = filepath.Join(at, part)
		st, err := root.Lstat(at)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("the repository has no directory %s at this commit", sub)
		}
		if err != nil {
			return err
		}
		if !st.IsDir() {
			return fmt.Errorf("%s is not a directory of the repository", at)
		}
	}
	tmp, err := f.Store.Temp("subdir")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	moved := filepath.Join(tmp, "it")
	if err := os.Rename(filepath.Join(dir, sub), moved); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Rename(moved, dir)
}

// setTimes gives all that is in dir, and dir itself, a time.
func setTimes(dir string, t time.Time) error {
	ts := []unix.Timespec{unix.NsecToTimespec(t.UnixNano()), unix.NsecToTimespec(t.UnixNano())}
	return filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		// Setting a time changes none of a directory's.
		return unix.UtimesNanoAt(unix.AT_FDCWD, name, ts, unix.AT_SYMLINK_NOFOLLOW)
	})
}
