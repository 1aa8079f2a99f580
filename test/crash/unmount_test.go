package crash

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestUnmount unmounts a disk that an overlay holds for a moment, as that of a container does of which the processes
// were just killed: the kernel goes on writing to the file until the overlay is gone too.
func TestUnmount(t *testing.T) {
	needs(t)
	dir := scratch(t)
	check := ending(t)
	empty, err := makeDisk(filepath.Join(dir, "empty"))
	check(err)
	d := &disk{file: filepath.Join(dir, "file")}
	t.Cleanup(d.release)
	check(copySparse(empty.file, d.file))
	check(d.mount(filepath.Join(dir, "disk")))
	old, overlay := filepath.Join(d.dir, "old"), filepath.Join(dir, "overlay")
	check(errors.Join(os.Mkdir(overlay, 0o700), os.Mkdir(filepath.Join(d.dir, "one"), 0o700), os.Mkdir(filepath.Join(d.dir, "two"), 0o700),
		os.WriteFile(old, nil, 0o600)))
	check(unix.Mount("overlay", overlay, "overlay", unix.MS_RDONLY, fmt.Sprintf("lowerdir=%[1]s/one:%[1]s/two", d.dir)))
	gone := make(chan error)
	go func() {
		time.Sleep(200 * time.Millisecond)
		gone <- unix.Unmount(overlay, 0)
	}()
	check(d.unmount())
	check(copySparse(empty.file, d.file))
	check(d.mount(filepath.Join(dir, "disk")))
	if _, err := os.Stat(old); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a copy of an empty disk, in the place of another disk, has a file of that: %v", err)
	}
	check(<-gone)
}
