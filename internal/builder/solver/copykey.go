package solver

import (
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/copier"
	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/builder/source/address"
	"github.com/strata-build/strata/internal/cache"
)

// addCopyFlags makes parts of the flags that are set: without any of them, the key is what it was
// before there were any.
func addCopyFlags(key *cache.Key, c *dockerfile.Copy) {
	if c.Unpack != c.Add {
		key.Add(cache.PartUnpack, strconv.FormatBool(c.Unpack))
	}
	if c.Parents {
		key.Add(cache.PartParents, "true")
	}
	if c.Link {
		key.Add(cache.PartLink, "true")
	}
	for _, file := range c.Inline {
		key.Add(cache.PartInline, file.Name, string(digest.FromString(file.Data)))
	}
}

// addTo makes the key's parts of what the sources selected: of files their contents, of a URL the digest of its bytes
// and the file's name, of a repository the commit and what is taken of it.
func (sel *sources) addTo(key *cache.Key, c *dockerfile.Copy) {
	if sel.Remote == nil {
		key.Add(cache.PartContent, string(sel.sum))
		return
	}
	order := ""
	for _, f := range sel.Remote {
		switch {
		case f == nil:
			order += "f"
		case f.Commit != nil:
			order += "g"
			addCommit(key, f)
		default:
			order += "u"
			key.Add(cache.PartURL, string(f.Sum))
			key.Add(cache.PartFile, f.Name)
		}
	}
	if strings.Contains(order, "f") {
		key.Add(cache.PartContent, string(sel.sum))
		key.Add(cache.PartOrder, order)
	}
	if strings.Contains(order, "u") && c.UnpackURL {
		key.Add(cache.PartUnpackURL, "true")
	}
	key.Add(cache.PartExclude, c.Exclude...)
}

// addCommit makes the key's parts of a repository: the commit, and what is taken of it.
func addCommit(key *cache.Key, f *copier.Remote) {
	key.Add(cache.PartGit, f.Commit.ID)
	if f.Git.Subdir != "" {
		key.Add(cache.PartSubdir, f.Git.Subdir)
	}
	if f.KeepsGitDir() {
		// The clone knows where it comes from.
		key.Add(cache.PartGitDir, address.Redact(f.Git.Remote), f.Commit.Ref, f.Commit.Tag)
	}
	if !f.TakesSubmodules() {
		key.Add(cache.PartSubmodules, "false")
	}
	if f.Git.CommitTime {
		key.Add(cache.PartMTime, "commit")
	}
}
