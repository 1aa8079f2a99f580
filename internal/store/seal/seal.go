// Package seal tells, without reading any file, whether files are as they were when they were known to be right.
//
// A seal is a digest over what the kernel keeps of a file, or of each file of a tree: inode number, type,
// permissions, owner, size, the times of the last change of its bytes (mtime) and of the inode (ctime). Whoever
// writes to a file, or changes anything about it, moves its ctime, which no program can set (inode(7)); whoever puts
// another file in its place gives it another inode number. What the disk does below the file system shows in none of
// them.
//
// Looking at a file takes 5 to 7 µs of a processor: 50 ms for the 7,600 files of a Debian, whose bytes take 500 ms to
// read.
package seal

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Sum is a seal in hexadecimal digits.
type Sum string

// Of seals a file, or a folder with all that is in it. The ctime of the folder itself does not count: a rename moves
// it. name is what the file stands for, so that the seal of one thing is not that of another that was put in its
// place with its seal.
func Of(path, name string) (Sum, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return "", &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	h := sha256.New()
	h.Write([]byte("strata seal 1\n" + name + "\n"))
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		h.Write(appendFacts(nil, &st))
		return Sum(hex.EncodeToString(h.Sum(nil))), nil
	}
	st.Ctim = unix.Timespec{}
	h.Write(appendFacts(nil, &st))
	folders, err := sealFolders(path)
	if err != nil {
		return "", err
	}
	for _, f := range folders {
		h.Write([]byte(f.path))
		h.Write([]byte{0})
		h.Write(f.sum[:])
	}
	return Sum(hex.EncodeToString(h.Sum(nil))), nil
}

// OfContents seals a file by its bytes, which it reads: for those that are small, and that a copy of the store is to
// have sealed too.
func OfContents(path, name string) (Sum, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	h.Write([]byte("strata seal of contents 1\n" + name + "\n"))
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return Sum(hex.EncodeToString(h.Sum(nil))), nil
}

// All is the seal of several things together, by theirs.
func All(sums ...Sum) Sum {
	h := sha256.New()
	h.Write([]byte("strata seal of seals 1\n"))
	for _, s := range sums {
		h.Write([]byte(s + "\n"))
	}
	return Sum(hex.EncodeToString(h.Sum(nil)))
}

// appendFacts appends what the kernel keeps of a file. The time of the last access does not count.
func appendFacts(b []byte, st *unix.Stat_t) []byte {
	b = binary.LittleEndian.AppendUint64(b, st.Ino)
	b = binary.LittleEndian.AppendUint32(b, st.Mode)
	b = binary.LittleEndian.AppendUint32(b, st.Uid)
	b = binary.LittleEndian.AppendUint32(b, st.Gid)
	b = binary.LittleEndian.AppendUint64(b, st.Rdev)
	for _, t := range []unix.Timespec{st.Mtim, st.Ctim} {
		b = binary.LittleEndian.AppendUint64(b, uint64(t.Sec))
		b = binary.LittleEndian.AppendUint64(b, uint64(t.Nsec))
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return b // the size of a folder is that of its list of names, which are sealed themselves
	}
	return binary.LittleEndian.AppendUint64(b, uint64(st.Size))
}

// folder is one of a tree, and the digest over what is in it.
type folder struct {
	path string // relative to the tree
	sum  [sha256.Size]byte
}

// walk seals the folders of a tree, several at a time.
type walk struct {
	root  int
	group errgroup.Group

	mu   sync.Mutex
	done []folder
}

// maxWalkers bounds how many folders are open at a time: one for each.
const maxWalkers = 4

// sealFolders returns the folders of a tree in the order of their paths.
func sealFolders(dir string) ([]folder, error) {
	root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(root)
	w := &walk{root: root}
	w.group.SetLimit(min(maxWalkers, runtime.GOMAXPROCS(0)))
	w.group.Go(func() error { return w.folder(".") })
	if err := w.group.Wait(); err != nil {
		return nil, err
	}
	slices.SortFunc(w.done, func(a, b folder) int { return cmp.Compare(a.path, b.path) })
	return w.done, nil
}

// folder seals a folder and those in it.
func (w *walk) folder(path string) error {
	sum, below, err := w.entries(path)
	if err != nil {
		return &fs.PathError{Op: "sealing", Path: path, Err: err}
	}
	w.mu.Lock()
	w.done = append(w.done, folder{path, sum})
	w.mu.Unlock()
	for _, name := range below {
		child := filepath.Join(path, name)
		if w.group.TryGo(func() error { return w.folder(child) }) {
			continue
		}
		if err := w.folder(child); err != nil {
			return err
		}
	}
	return nil
}

// entries is the digest over what a folder has in it, and the names of the folders among that.
func (w *walk) entries(path string) (sum [sha256.Size]byte, below []string, err error) {
	fd, err := unix.Openat(w.root, path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return sum, nil, err
	}
	dir := os.NewFile(uintptr(fd), path)
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return sum, nil, err
	}
	slices.Sort(names)
	facts := make([]byte, 0, 96*len(names))
	for _, name := range names {
		var st unix.Stat_t
		if err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return sum, nil, err
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			below = append(below, name)
		}
		facts = appendFacts(append(append(facts, name...), 0), &st)
	}
	return sha256.Sum256(facts), below, nil
}

// Seals are the seals of several things, by the name that each has in the file where they are kept.
type Seals map[string]Sum

// Read reads seals; those that cannot be read are none.
func Read(path string) Seals {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	seals := Seals{}
	for line := range strings.Lines(string(data)) {
		if name, sum, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " "); ok {
			seals[name] = Sum(sum)
		}
	}
	return seals
}

// Write writes seals to a new file.
func (s Seals) Write(path string) error {
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s)) {
		text.WriteString(name + " " + string(s[name]) + "\n")
	}
	return os.WriteFile(path, []byte(text.String()), 0o600)
}
