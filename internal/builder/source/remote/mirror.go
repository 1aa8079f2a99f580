package remote

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/strata-build/strata/internal/builder/source/address"
)

// mirror is the bare repository in the store that holds what was fetched of a remote: of each commit that was asked for
// its files, and of its history only what a server insists on.
type mirror struct {
	git     *git
	dir     string // the repository
	url     string // without a password: see password
	fetcher *Fetcher
}

// mirror opens the mirror of a remote, which is the caller's alone until release.
func (f *Fetcher) mirror(ctx context.Context, r *address.Repository, commit string) (_ *mirror, release func(), err error) {
	g, err := f.gitFor(r)
	if err != nil {
		return nil, nil, err
	}
	dir, release, err := f.folder(ctx, "git", mirrorName(r.Remote))
	if err != nil {
		return nil, nil, err
	}
	m := &mirror{git: g, dir: filepath.Join(dir, "repository"), url: address.Redact(r.Remote), fetcher: f}
	format := "sha1"
	if len(commit) == 64 {
		m.dir += "-sha256"
		format = "sha256"
	}
	if err = m.trust(ctx); err == nil {
		if _, err = os.Stat(m.dir); errors.Is(err, os.ErrNotExist) {
			err = f.initMirror(ctx, m, format)
		}
	}
	if err == nil {
		now := time.Now() // pruning goes by it
		err = os.Chtimes(dir, now, now)
	}
	if err != nil {
		release()
		return nil, nil, err
	}
	return m, release, nil
}

func (f *Fetcher) initMirror(ctx context.Context, m *mirror, format string) error {
	tmp, err := f.Store.Temp("git")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	made := filepath.Join(tmp, "repository")
	args := []string{"init", "--quiet", "--bare", "--template="}
	if format != "sha1" {
		args = append(args, "--object-format="+format)
	}
	if _, err := m.git.run(ctx, nil, append(args, "--", made)...); err != nil {
		return err
	}
	if err := f.Store.MarkUnsynced(filepath.Dir(m.dir)); err != nil {
		return err
	}
	return os.Rename(made, m.dir)
}

// run runs git in the mirror.
func (m *mirror) run(ctx context.Context, args ...string) (string, error) {
	return m.git.run(ctx, nil, append([]string{"--git-dir=" + m.dir}, args...)...)
}

func (m *mirror) has(ctx context.Context, object string) bool {
	_, err := m.run(ctx, "cat-file", "-e", object)
	return err == nil
}

// fetched is the ref that a fetch sets.
const fetched = "refs/strata/fetched"

// fetch brings an object, a commit or an annotated tag, with all files of the commit; nothing moves if it is here. ref
// is where the server has it, "" if that is not known.
func (m *mirror) fetch(ctx context.Context, ref, object string) error {
	if m.has(ctx, object) && m.has(ctx, "refs/strata/"+object) {
		return nil
	}
	written, err := m.fetcher.Store.MarkWriting(filepath.Dir(m.dir))
	if err != nil {
		return err
	}
	defer written()
	// What a killed fetch left would stop this one; nobody else is at work here.
	for _, name := range []string{"shallow.lock", "packed-refs.lock", fetched + ".lock"} {
		if err := os.Remove(filepath.Join(m.dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	shown := m.fetcher.begin(m.url)
	m.git.moved = func(n int64) { shown.bytes(n, 0) }
	err = m.fetchWays(ctx, ref, object)
	shown.done(err)
	if err != nil {
		return err
	}
	// As a ref the object is told to the server next time, so that it sends the differences only.
	if _, err = m.run(ctx, "update-ref", "refs/strata/"+object, object); err != nil {
		return err
	}
	return m.seal()
}

// fetchWays tries what servers allow, the cheapest first: the ref; the object itself, which some do not give by its
// name; and all branches and tags with their history, which is the only way of "dumb" http and to a commit that no ref
// names any more.
func (m *mirror) fetchWays(ctx context.Context, ref, object string) error {
	var shallow [][]string
	if ref != "" {
		shallow = append(shallow, []string{"+" + ref + ":" + fetched})
	}
	shallow = append(shallow, []string{"+" + object + ":" + fetched})
	var last error
	for _, refspec := range shallow {
		_, last = m.run(ctx, append([]string{"fetch", "--progress", "--no-tags", "--depth=1", "--no-write-fetch-head", "--", m.url}, refspec...)...)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if last == nil && m.has(ctx, object) {
			return nil
		}
		if unreachable(last) {
			return last
		}
	}
	args := []string{"fetch", "--progress", "--no-tags", "--no-write-fetch-head"}
	if _, err := os.Stat(filepath.Join(m.dir, "shallow")); err == nil {
		args = append(args, "--unshallow")
	}
	_, err := m.run(ctx, append(args, "--", m.url, "+refs/heads/*:refs/strata/heads/*", "+refs/tags/*:refs/strata/tags/*")...)
	if err != nil {
		return err
	}
	if !m.has(ctx, object) {
		return fmt.Errorf("the repository has no commit %s (any more); name one that it has", object)
	}
	return nil
}

// unreachable says that a fetch failed for reasons that no other way of asking changes.
func unreachable(err error) bool {
	var failed *gitError
	if !errors.As(err, &failed) {
		return err != nil
	}
	for _, words := range []string{"Could not resolve host", "onnection refused", "Could not connect", "onnection timed out", "prompts disabled"} {
		if strings.Contains(failed.said, words) {
			return true
		}
	}
	return false
}
