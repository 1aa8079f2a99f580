package damage

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// kind is a kind of file of a store.
type kind struct {
	name string
	// at and other are patterns of the paths of two of the kind, below the store's folder.
	at, other string
	harms     []harm
	// warm has a build use it first, since a copy of a store has other times.
	warm bool
}

// harm is what is done to a file; other is another one of its kind.
type harm struct {
	name string
	do   func(path, other string) error
}

// cell is one of the matrix.
type cell struct {
	kind      kind
	harm      harm
	operation string
}

func (c cell) String() string { return c.kind.name + "/" + c.harm.name + "/" + c.operation }

// damage does the harm.
func (c cell) damage(root string) error {
	found, err := find(root, c.kind.at)
	if err != nil {
		return err
	}
	path, other := found[0], ""
	if c.kind.other != "" {
		if found, err = find(root, c.kind.other); err != nil {
			return err
		}
		other = found[len(found)-1]
	}
	time.Sleep(20 * time.Millisecond) // the kernel's clock for times of files ticks every 4 to 10 ms
	return c.harm.do(path, other)
}

// find lists the paths that match, the largest file first. Behind what matches, the pattern may lead upwards.
func find(root, pattern string) ([]string, error) {
	below, up, _ := strings.Cut(pattern, "/..") // which Glob takes for a name
	matches, err := filepath.Glob(filepath.Join(root, below))
	var found []string
	sizes := map[string]int64{}
	for _, path := range matches {
		if up != "" || below != pattern {
			path = filepath.Join(path, ".."+up)
		}
		if st, err := os.Lstat(path); err == nil {
			found = append(found, path)
			sizes[path] = st.Size()
		}
	}
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("the store has no %s", pattern)
	}
	slices.SortFunc(found, func(a, b string) int { return cmp.Compare(sizes[b], sizes[a]) })
	return found, err
}

var (
	truncated = harm{"truncated", func(path, _ string) error {
		st, err := os.Stat(path)
		return errors.Join(err, os.Truncate(path, st.Size()/2))
	}}
	zeroed = harm{"zeroed", func(path, _ string) error {
		return rewrite(path, func(data []byte) { clear(data) })
	}}
	flipped = harm{"flipped", func(path, _ string) error {
		return rewrite(path, func(data []byte) { data[len(data)/2] ^= 1 })
	}}
	missing = harm{"missing", func(path, _ string) error { return os.RemoveAll(path) }}
	swapped = harm{"swapped", func(path, other string) error {
		return unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, other, unix.RENAME_EXCHANGE)
	}}
	changed = harm{"mode changed", func(path, _ string) error { return os.Chmod(path, 0o777) }}
	added   = harm{"file added", func(path, _ string) error {
		return os.WriteFile(filepath.Join(path, "added"), []byte("text"), 0o644)
	}}
)

// rewrite changes the bytes of a file in place, and gives it the times that it had.
func rewrite(path string, change func([]byte)) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	change(data)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close(), os.Chtimes(path, st.ModTime(), st.ModTime()))
}

var contents = []harm{truncated, zeroed, flipped, missing}

// indexKinds are the rows where layers are mounted by indexes. Those of the base and of a COPY have a tar or a delta of
// one, and an index, that of a RUN a tree. The largest tar is the base of the delta.
var indexKinds = []kind{
	{"tar", "layers/*/tar", "layers/*/fs/made", append(contents, swapped, changed), false},
	{"tar in the place of a delta", "layers/*/tar", "layers/*/delta", []harm{swapped}, false},
	{"layer of a tar", "layers/*/midstates/..", "", []harm{missing}, false},
	{"delta", "layers/*/delta", "layers/*/delta-of", append(contents, swapped, changed), false},
	{"delta-of", "layers/*/delta-of", "layers/*/seal", append(contents, swapped, changed), false},
	{"index of the base", "layers/*/erofs", "layers/*/toc", append(contents, swapped, changed), false},
	{"index of a layer in the place of another's", "layers/*/erofs", "layers/*/erofs", []harm{swapped}, false},
	{"toc of the base", "layers/*/toc", "layers/*/fs/made/../../toc", append(contents, swapped), false},
	{"seal", "layers/*/seal", "layers/*/fs/made/../../seal", append(contents, swapped), false},
	{"layer of a RUN", "layers/*/fs/made/../..", "", []harm{missing}, false},
}

// mergedKinds are those of a merged index beside.
var mergedKinds = []kind{
	{"merged index", "layers/*/merged-*", "layers/*/erofs", append(contents, swapped, changed), false},
}

// kinds are the rows of the matrix. A layer of a COPY has a tar and a tree, that of a RUN or of the base a tree.
var kinds = []kind{
	{"tar", "layers/*/tar", "layers/*/fs/made", append(contents, swapped), false},
	{"toc of a COPY", "layers/*/fs/c/../../toc", "layers/*/fs/etc/../../toc", append(contents, swapped), false},
	{"toc of a RUN", "layers/*/fs/made/../../toc", "layers/*/fs/etc/../../toc", append(contents, swapped), false},
	{"file of a COPY's tree", "layers/*/fs/c/g", "layers/*/fs/c/f", append(contents, swapped, changed), false},
	{"file of a RUN's tree", "layers/*/fs/made", "layers/*/fs/other", append(contents, swapped, changed), false},
	{"file of a base's tree", "layers/*/fs/etc/passwd", "layers/*/fs/etc/group", append(contents, swapped, changed), false},
	{"tree of a COPY", "layers/*/fs/c/..", "layers/*/fs/made/..", []harm{missing, added}, false},
	{"layer of a RUN", "layers/*/fs/made/../..", "layers/*/fs/c/../..", []harm{missing, swapped}, false},
	{"seal", "layers/*/fs/c/../../seal", "layers/*/fs/etc/../../seal", append(contents, swapped), false},
	{"blob", "blobs/sha256/[0-9a-f]*", "blobs/sha256/[0-9a-f]*", append(contents, swapped), false},
	{"meta.db", "meta.db", "", contents, false},
	{"stat cache", "contexts/*", "contexts/*", append(contents, swapped), false},
	{"file of a context's copy", "laid/*/fs/299", "laid/*/fs/298", append(contents, swapped, changed), true},
	{"toc of a context's copy", "laid/*/toc", "layers/*/fs/etc/../../toc", append(contents, swapped), true},
	{"times of a context's copy", "laid/*/times", "laid/*/toc", append(contents, swapped), true},
	{"seal of a context's copy", "laid/*/seal", "layers/*/fs/etc/../../seal", append(contents, swapped), true},
	{"size of a context's copy", "laid/*/size", "laid/*/times", append(contents, swapped), true},
	{"lock of a context's copy", "laid/*/lock", "", []harm{missing}, true},
	{"download", "downloads/*/[0-9a-f][0-9a-f]*", "downloads/*/[0-9a-f][0-9a-f]*", append(contents, swapped), true},
	{"answer of a download", "downloads/*/answer", "downloads/*/answer", append(contents, swapped), true},
	{"folder of a download", "downloads/*", "downloads/*", []harm{missing, swapped}, true},
	{"pack of a git repository", "git/*/repository/objects/pack/*.pack", "git/*/repository/objects/pack/*.idx", append(contents, swapped), true},
	{"config of a git repository", "git/*/repository/config", "git/*/repository/HEAD", append(contents, swapped), true},
	{"shallow of a git repository", "git/*/repository/shallow", "git/*/repository/HEAD", append(contents, swapped), true},
	{"seal of a git repository", "git/*/repository.seal", "git/*/seen", append(contents, swapped), true},
	{"seen of a git repository", "git/*/seen", "git/*/repository.seal", append(contents, swapped), true},
	{"listing", "listings/*", "layers/*/fs/etc/../../toc", append(contents, swapped), true},
	{"info of a cache mount", "mounts/*/*/info", "mounts/*/*/lock", append(contents, swapped), true},
	{"lock of a cache mount", "mounts/*/*/lock", "", []harm{missing}, true},
	{"log of meta.db", "meta.db-wal", "", []harm{missing}, false},
	{"log's index of meta.db", "meta.db-shm", "", []harm{truncated, missing}, false},
	{"reserve", "reserve", "", []harm{missing}, false},
	{"contexts", "contexts", "", []harm{missing}, false},
	{"laid", "laid", "", []harm{missing}, false},
	{"mounts", "mounts", "", []harm{missing}, false},
	{"locks", "locks", "", []harm{missing}, false},
	{"boot", "boot", "", []harm{missing}, false},
	{"blobs", "blobs", "", []harm{missing}, false},
	{"tmp", "tmp", "", []harm{missing}, false},
}
