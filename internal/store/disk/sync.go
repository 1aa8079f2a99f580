package disk

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Sync waits until everything that was written to the file system of path is on its disk: files,
// their names and the database. One call costs 12 to 19 ms where little is waiting to be written; an
// fsync for each file of a layer costs many times that.
func Sync(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("writing %s to its disk: %w", path, Explain(path, err))
	}
	return nil
}
