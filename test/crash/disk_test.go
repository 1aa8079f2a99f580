package crash

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// disk is an ext4 file system in a file, mounted through a loop device. The file holds what a real
// disk would hold: what ext4 has written and nothing else. The loop device goes with the mount.
type disk struct {
	file string // of the file system
	dir  string // where it is mounted, "" while it is not
	loop string // the name of the device: "loop3"
}

// diskSize is the length of the file in bytes, of which only what is written takes room.
const diskSize = 512 << 20

// makeDisk makes an empty file system.
func makeDisk(file string) (*disk, error) {
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.Truncate(diskSize), f.Close()); err != nil {
		return nil, err
	}
	return &disk{file: file}, run("mkfs.ext4", "-q", "-F", "-J", "size=16", "-E", "lazy_itable_init=1,nodiscard", file)
}

// mountOptions make the loss of a power cut as large as it can be on a machine that has not been
// written to for long: the journal is committed when something asks for it and not every 5 s, and a
// file that is renamed over another is not written for that reason alone. noinit_itable keeps ext4
// from writing in the background.
const mountOptions = "loop,noatime,commit=300,noauto_da_alloc,noinit_itable"

func (d *disk) mount(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := run("mount", "-t", "ext4", "-o", mountOptions, d.file, dir); err != nil {
		return err
	}
	d.dir = dir
	out, err := exec.Command("findmnt", "-n", "-o", "SOURCE", dir).Output()
	d.loop = filepath.Base(strings.TrimSpace(string(out)))
	return err
}

// unmount takes the disk away, as soon as the processes that were killed have let go of it. Afterwards nothing
// is written to the file: an overlay of a process that ends may hold the file system longer than it is mounted,
// and the loop device goes when nothing holds it.
func (d *disk) unmount() error {
	var err error
	for range 1500 { // half a minute
		if d.dir != "" {
			if err = unix.Unmount(d.dir, 0); err == nil {
				d.dir = ""
			}
		}
		if d.dir == "" {
			if err = d.isHeld(); err == nil {
				return nil
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("unmounting %s: %w", d.file, err)
}

// isHeld is an error while the loop device has the file.
func (d *disk) isHeld() error {
	file, err := os.ReadFile(filepath.Join("/sys/block", d.loop, "loop/backing_file"))
	if err == nil && strings.TrimSpace(string(file)) == d.file {
		return fmt.Errorf("/dev/%s still has it", d.loop)
	}
	return nil // it has none, or another one by now
}

// release takes the disk away if it is still there.
func (d *disk) release() {
	if d.dir != "" {
		_ = d.unmount() // with the name space at the latest
	}
}

// written counts what ext4 has written to the device since it was made.
func (d *disk) written() (string, error) {
	text, err := os.ReadFile(filepath.Join("/sys/block", d.loop, "stat"))
	if err != nil {
		return "", err
	}
	// Documentation/block/stat.rst: the fifth field is the number of writes, the ninth the requests under way.
	fields := strings.Fields(string(text))
	if len(fields) < 9 {
		return "", fmt.Errorf("%s: %q", d.loop, text)
	}
	return fields[4] + " " + fields[8], nil
}

// errMoving says that the disk was written to while it was copied: such a copy is of no moment.
var errMoving = errors.New("the disk was written to meanwhile")

// copy is the disk as it would be found if the power went now.
func (d *disk) copy(file string) (*disk, error) {
	before, err := d.written()
	if err != nil {
		return nil, err
	}
	if !strings.HasSuffix(before, " 0") {
		return nil, errMoving
	}
	if err := copySparse(d.file, file); err != nil {
		return nil, err
	}
	after, err := d.written()
	if err == nil && after != before {
		err = errMoving
	}
	if err != nil {
		return nil, err
	}
	return &disk{file: file}, nil
}

// copySparse copies a file and leaves holes where it has them.
func copySparse(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	buf := make([]byte, 1<<20)
	for end := int64(0); ; {
		start, err := in.Seek(end, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return out.Truncate(diskSize)
		}
		if err != nil {
			return err
		}
		if end, err = in.Seek(start, unix.SEEK_HOLE); err != nil {
			return err
		}
		if _, err := io.CopyBuffer(io.NewOffsetWriter(out, start), io.NewSectionReader(in, start, end-start), buf); err != nil {
			return err
		}
	}
}

// writeBack is what the kernel may have written back of its own accord before the power goes.
type writeBack int

const (
	nothing  writeBack = iota
	names              // the journal with all names, owners and sizes that are decided, and no file's bytes
	rows               // the log of meta.db, and with it the names
	bytesOf            // the bytes of some files, and with them the names
	anything           // all of that
	writeBacks
)

func (w writeBack) String() string {
	return [...]string{"nothing", "names", "rows", "some bytes", "names, rows, some bytes"}[w]
}

// force has some of what is in memory written.
func (d *disk) force(w writeBack, root string, r *rand.Rand) error {
	var files []string
	switch w {
	case names, anything:
		mark := filepath.Join(d.dir, "mark")
		if err := os.WriteFile(mark, []byte("x"), 0o600); err != nil {
			return err
		}
		files = append(files, mark)
	}
	if w == rows || w == anything {
		files = append(files, filepath.Join(root, "meta.db-wal"))
	}
	if w == bytesOf || w == anything {
		var all []string
		_ = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() {
				all = append(all, path)
			}
			return nil // what went meanwhile is none
		})
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		if len(all) > 0 {
			files = append(files, all[:r.IntN(len(all))]...)
		}
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			continue // gone meanwhile
		}
		err = f.Sync()
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func run(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
