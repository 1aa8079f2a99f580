package crash

import (
	"archive/tar"
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/strata-build/strata/test/testbed"
)

// bench is what all cuts share.
type bench struct {
	work
	binary string
	base   string                   // a file system with a store that has the base image
	took   map[string]time.Duration // how long operations take
}

// slot is where one disk after the other is worked on, beside other slots.
type slot struct {
	*bench
	dir   string
	boots int
}

// slot makes one.
func (b *bench) slot(name string) (*slot, error) {
	s := &slot{bench: b, dir: b.path(name)}
	return s, os.Mkdir(s.dir, 0o700)
}

// own is a path in the slot.
func (s *slot) own(name string) string { return filepath.Join(s.dir, name) }

// scratch is where the disks lie: in memory where there is some, since a real disk waits for each sync.
func scratch(t *testing.T) string {
	if dir, err := os.MkdirTemp("/dev/shm", "strata-crash-"); err == nil {
		t.Cleanup(func() { os.RemoveAll(dir) })
		return dir
	}
	return t.TempDir()
}

func newBench(t *testing.T) *bench {
	t.Helper()
	ctx := context.Background()
	dir := scratch(t)
	b := &bench{work: work{dir: dir, want: map[string]string{}}, took: map[string]time.Duration{}}
	var err error
	check := ending(t)
	b.binary, err = testbed.Build(ctx, dir)
	check(err)
	registry, err := testbed.StartRegistry(ctx, filepath.Join(dir, "registry"))
	check(err)
	t.Cleanup(registry.Stop)
	b.registry = registry.Address
	busybox, err := testbed.Busybox(ctx)
	check(err)
	check(b.writeContexts())
	check(b.writeTar(busybox))

	first, err := b.slot("first")
	check(err)
	d, err := makeDisk(b.path("base"))
	check(err)
	check(d.mount(first.own("disk")))
	defer func() { d.release() }()
	m, err := first.boot(d)
	check(err)
	_, err = m.strata("import", "--change", `CMD ["sh"]`, busybox, testbed.BusyboxImage)
	check(err)
	check(d.unmount())
	b.base = d.file

	// What has to come of each operation, on a disk that nothing happens to.
	check(copySparse(b.base, b.path("reference")))
	d = &disk{file: b.path("reference")}
	check(d.mount(first.own("disk")))
	m, err = first.boot(d)
	check(err)
	b.makeSources(t, m)
	for _, op := range b.operations("0") {
		if !op.again {
			continue
		}
		began := time.Now()
		for _, command := range op.commands {
			_, err := m.strata(command...)
			check(err)
		}
		b.took[op.name] = max(b.took[op.name], time.Since(began))
	}
	check(testbed.CheckForm(m.store))
	for _, name := range b.names() {
		content, err := first.read(m, name)
		check(err)
		b.want[name] = content
	}
	check(d.unmount())
	return b
}

// makeSources makes what is loaded and pulled later.
func (b *bench) makeSources(t *testing.T, m *machine) {
	t.Helper()
	name, command := b.build(0, "files")
	for _, args := range [][]string{
		command,
		{"tag", name, loadedImage}, {"save", "-o", b.path("load.tar"), loadedImage}, {"rmi", loadedImage},
		{"tag", name, b.pulledImage()}, {"push", "-q", b.pulledImage()}, {"rmi", b.pulledImage()},
	} {
		if _, err := m.strata(args...); err != nil {
			t.Fatal(err)
		}
	}
}

// boot starts a machine on a mounted disk.
func (s *slot) boot(d *disk) (*machine, error) {
	s.boots++
	return newMachine(s.binary, filepath.Join(d.dir, "store"), s.own("boot"), s.boots)
}

// read returns what is in an image.
func (s *slot) read(m *machine, name string) (string, error) {
	archive := s.own("saved.tar")
	os.Remove(archive)
	if _, err := m.strata("save", "-o", archive, name); err != nil {
		return "", err
	}
	return testbed.ImageContent(archive)
}

// copyEntries copies all entries of a tar.
func copyEntries(to *tar.Writer, from *tar.Reader) error {
	for {
		h, err := from.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := to.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.Copy(to, from); err != nil {
			return err
		}
	}
}
