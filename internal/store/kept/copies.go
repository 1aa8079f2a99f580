package kept

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/store/disk"
	"github.com/strata-build/strata/internal/store/seal"
)

// A copy of a context is what a RUN's mount showed of a build context, kept so that the next build
// copies only what changed. It lies in laid/<name>/, is written once and replaced as a whole. It is
// in use, and stays, as long as its file "lock" is locked (flock(2)), as with cache mounts.

// maxCopies is how many of them are kept, each as large as what it was copied from.
const maxCopies = 16

// Copy is a kept copy of a build context.
type Copy struct {
	Dir string // the tree, in the form that overlayfs takes as a lower layer
	TOC *layer.TOC
	// Times are those of the entries of TOC, in nanoseconds since 1970.
	Times []int64

	lock *os.File
}

// Release ends the use of the copy, which otherwise lasts until the store is closed.
func (c *Copy) Release() { _ = c.lock.Close() }

// ContextCopy returns the copy that is kept under a name, nil if there is none, or none that can be
// read. Nobody removes it while it is in use.
func (k *Kept) ContextCopy(name string) (*Copy, error) {
	dir := k.path(copies, name)
	lock, err := disk.TakeLock(dir, true)
	if err != nil {
		return nil, fmt.Errorf("using a copy of the build context: %w", k.session.Explain(err))
	}
	if lock == nil {
		return nil, nil
	}
	t, times, err := k.readCopy(name)
	if err != nil {
		k.session.Note("a kept copy of the build context is not as it was made: it is made again")
		return nil, lock.Close()
	}
	now := time.Now()
	_ = os.Chtimes(dir, now, now) // without it, it is pruned a little earlier
	k.session.Hold(lock)
	return &Copy{Dir: filepath.Join(dir, "fs"), TOC: t, Times: times, lock: lock}, nil
}

// readCopy reads what is known of a copy that is as it was made.
func (k *Kept) readCopy(name string) (*layer.TOC, []int64, error) {
	dir := k.path(copies, name)
	was := seal.Read(filepath.Join(dir, copySeal))
	now, err := sealCopy(dir, name)
	if err == nil && !maps.Equal(was, now) {
		err = errors.New("it is not as it was sealed")
	}
	if err != nil {
		return nil, nil, err
	}
	t, err := disk.ReadTOC(filepath.Join(dir, "toc"))
	if err != nil {
		return nil, nil, err
	}
	data, err := os.ReadFile(filepath.Join(dir, "times"))
	if err != nil {
		return nil, nil, err
	}
	times := make([]int64, len(t.Entries))
	if len(data) != 8*len(times) {
		return nil, nil, fmt.Errorf("%d bytes for the times of %d entries", len(data), len(times))
	}
	_, err = binary.Decode(data, binary.LittleEndian, times)
	return t, times, err
}

// KeepContextCopy keeps the copy that is "fs" in dir, a folder that Temp made, in place of the one
// of that name, and returns where it is. Where that one is in use, or another took its place
// meanwhile, it stays in dir and goes with the process.
func (k *Kept) KeepContextCopy(name string, c *Copy, dir string) (string, error) {
	tree, err := k.keepCopy(name, c, dir)
	if err != nil {
		return "", fmt.Errorf("keeping a copy of the build context: %w", k.session.Explain(err))
	}
	return tree, nil
}

func (k *Kept) keepCopy(name string, c *Copy, dir string) (string, error) {
	lock, err := describeCopy(c, dir)
	if err != nil {
		return "", err
	}
	k.session.Hold(lock)
	final := k.path(copies, name)
	if err := os.MkdirAll(filepath.Dir(final), 0o700); err != nil {
		return "", err
	}
	if _, err := k.Remove(final); err != nil {
		return "", err
	}
	if err := k.session.MarkUnsynced(final); err != nil {
		return "", err
	}
	seals, err := sealCopy(dir, name)
	if err == nil {
		err = seals.Write(filepath.Join(dir, copySeal))
	}
	if err != nil {
		return "", err
	}
	placed, err := disk.Place(dir, final)
	if err != nil {
		return "", err
	}
	if !placed {
		return filepath.Join(dir, "fs"), nil
	}
	return filepath.Join(final, "fs"), k.limit(copies, maxCopies)
}

// copySeal is the file with the seals of a copy.
const copySeal = "seal"

// sealCopy seals the copy of a name, in dir: its files by what the kernel keeps of them, and what is known of them by
// its bytes.
func sealCopy(dir, name string) (seal.Seals, error) {
	seals := seal.Seals{}
	for _, part := range []string{"fs", "toc", "times"} {
		of := seal.OfContents
		if part == "fs" {
			of = seal.Of
		}
		sum, err := of(filepath.Join(dir, part), name+" "+part)
		if err != nil {
			return nil, err
		}
		seals[part] = sum
	}
	return seals, nil
}

// describeCopy writes what is known of a copy beside it, and locks it.
func describeCopy(c *Copy, dir string) (*os.File, error) {
	times, err := binary.Append(nil, binary.LittleEndian, c.Times)
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		disk.WriteTOC(filepath.Join(dir, "toc"), c.TOC),
		os.WriteFile(filepath.Join(dir, "times"), times, 0o600),
		os.WriteFile(filepath.Join(dir, "size"), []byte(strconv.FormatInt(disk.Estimate(c.TOC), 10)), 0o600))
	if err != nil {
		return nil, err
	}
	return disk.CreateLock(dir, true)
}

// copySize is what a copy takes on the disk, without looking at its files.
func copySize(dir string) (int64, error) {
	text, err := os.ReadFile(filepath.Join(dir, "size"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil // pruned at this moment
	}
	if err != nil {
		return 0, err
	}
	size, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil { // damaged
		return disk.Usage(dir)
	}
	return size, nil
}
