package attest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/strata-build/strata/internal/builder/source/address"
)

// VCS tells of which git repository and commit a directory is a checkout, as buildx tells it to BuildKit; nil if it is
// none, or there is no git to ask. No hook and no program that the repository's configuration names is run: both
// questions are answered from its files.
func VCS(ctx context.Context, dir string) map[string]string {
	git := func(args ...string) string {
		cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_OPTIONAL_LOCKS=0", "LC_ALL=C")
		out, err := cmd.Output()
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(out))
	}
	root := git("rev-parse", "--show-toplevel")
	revision := git("rev-parse", "--verify", "HEAD")
	if root == "" || revision == "" {
		return nil
	}
	vcs := map[string]string{"revision": revision}
	if source := git("config", "--get", "remote.origin.url"); source != "" {
		vcs["source"] = withoutUser(source)
	}
	if here, err := filepath.EvalSymlinks(dir); err == nil {
		if rel, err := filepath.Rel(root, here); err == nil && filepath.IsLocal(rel) {
			vcs["localdir:context"] = rel
		}
	}
	return vcs
}

// withoutUser takes name and password out of a repository's URL.
func withoutUser(source string) string {
	scheme, rest, ok := strings.Cut(source, "://")
	if !ok || scheme == "ssh" {
		return address.Redact(source)
	}
	host, path, _ := strings.Cut(rest, "/")
	if at := strings.LastIndex(host, "@"); at >= 0 {
		host = host[at+1:]
	}
	return scheme + "://" + host + "/" + path
}
