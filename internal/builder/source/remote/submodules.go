package remote

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/strata-build/strata/internal/builder/source/address"
)

// maxSubmodules is how deep submodules may lie in each other, so that a repository which has itself comes to an end.
const maxSubmodules = 20

// submodules lays out the submodules of a commit in dir, where the commit is. Each is a repository with a mirror of its
// own, so that one that did not change moves nothing.
func (f *Fetcher) submodules(ctx context.Context, c *Commit, dir string, depth int) error {
	links, urls, err := f.listSubmodules(ctx, c)
	if err != nil || len(links) == 0 {
		return err
	}
	if depth == maxSubmodules {
		return fmt.Errorf("submodules lie more than %d deep in each other", maxSubmodules)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for name, commit := range links {
		address, ok := urls[name]
		if !ok {
			return fmt.Errorf("no url found for submodule path '%s' in .gitmodules; mend it, or leave submodules out with ?submodules=false", name)
		}
		if address == "" {
			continue // update = none
		}
		r, err := submoduleOf(c.Repository, address, commit)
		if err != nil {
			return fmt.Errorf("submodule %s: %w", name, err)
		}
		if err := root.MkdirAll(name, 0o755); err != nil {
			return fmt.Errorf("submodule %s: %w", name, err)
		}
		sub := &Commit{Repository: r, ID: commit}
		if err := f.submodule(ctx, sub, filepath.Join(dir, name), depth); err != nil {
			return fmt.Errorf("submodule %s: %w", name, err)
		}
	}
	return nil
}

func (f *Fetcher) submodule(ctx context.Context, c *Commit, dir string, depth int) error {
	m, release, err := f.mirror(ctx, c.Repository, c.ID)
	if err != nil {
		return err
	}
	if err = m.fetch(ctx, "", c.ID); err == nil {
		err = f.lay(ctx, m, c.ID, dir)
	}
	release()
	if err != nil {
		return gitHint(c.Repository, err, "")
	}
	return f.submodules(ctx, c, dir, depth+1)
}

// listSubmodules reads which commits a commit has as submodules, by their paths, and their addresses: "" for one that
// is not to be fetched.
func (f *Fetcher) listSubmodules(ctx context.Context, c *Commit) (links, urls map[string]string, err error) {
	m, release, err := f.mirror(ctx, c.Repository, c.ID)
	if err != nil {
		return nil, nil, err
	}
	defer release()
	out, err := m.run(ctx, "ls-tree", "-r", "-z", "--full-tree", c.ID)
	if err != nil {
		return nil, nil, err
	}
	links = map[string]string{}
	for _, line := range strings.Split(out, "\x00") {
		about, name, ok := strings.Cut(line, "\t") // mode SP type SP object TAB path
		if fields := strings.Fields(about); ok && len(fields) == 3 && fields[0] == "160000" {
			links[name] = fields[2]
		}
	}
	if len(links) == 0 || !m.has(ctx, c.ID+":.gitmodules") {
		return links, nil, nil
	}
	out, err = m.run(ctx, "config", "--blob", c.ID+":.gitmodules", "-z", "--list")
	if err != nil {
		return nil, nil, err
	}
	return links, readModules(out), nil
}

// readModules reads the settings of a .gitmodules as git prints them: name, newline, value, zero.
func readModules(out string) map[string]string {
	paths, addresses, off := map[string]string{}, map[string]string{}, map[string]bool{}
	for _, setting := range strings.Split(out, "\x00") {
		key, value, _ := strings.Cut(setting, "\n")
		key, ok := strings.CutPrefix(key, "submodule.")
		dot := strings.LastIndexByte(key, '.')
		if !ok || dot < 0 {
			continue
		}
		switch name := key[:dot]; key[dot+1:] {
		case "path":
			paths[name] = value
		case "url":
			addresses[name] = value
		case "update":
			off[name] = value == "none"
		}
	}
	urls := map[string]string{}
	for name, p := range paths {
		if address, ok := addresses[name]; ok {
			urls[strings.TrimSuffix(p, "/")] = address
			if off[name] {
				urls[strings.TrimSuffix(p, "/")] = ""
			}
		}
	}
	return urls
}

// submoduleOf is the repository of a submodule, whose address may be relative to its parent's (git-submodule(1)). It
// may not lead to this machine's files.
func submoduleOf(parent *address.Repository, url, commit string) (*address.Repository, error) {
	if strings.HasPrefix(url, "./") || strings.HasPrefix(url, "../") {
		url = relativeAddress(parent.Remote, url)
	}
	return address.Submodule(url, commit)
}

func relativeAddress(parent, address string) string {
	if u, err := url.Parse(parent); err == nil && u.Host != "" {
		u.Path = path.Join(u.Path, address)
		u.RawPath = ""
		return u.String()
	}
	host, rest, _ := strings.Cut(parent, ":")
	joined := path.Join("/", rest, address)
	if !strings.HasPrefix(rest, "/") {
		joined = strings.TrimPrefix(joined, "/")
	}
	return host + ":" + joined
}
