// Package workspace gives a process a root file system that it may change: a chain of layers with an upper directory
// on top. It takes the layers as directories or indexes, the owner and mode of the merged root, and an empty folder;
// it gives the place where all of it is mounted, and the upper directory, which holds what was changed. A RUN makes a
// layer of the upper directory; `strata run` and the mounts of a RUN throw it away.
package workspace

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/identity"
	"github.com/strata-build/strata/internal/sandbox/snapshot"
	"github.com/strata-build/strata/internal/store"
)

// Workspace is a mounted root file system with its upper directory. It is used by one goroutine.
type Workspace struct {
	dir     string
	mounted bool
}

// Attributes are what a directory shows of itself in a container.
type Attributes struct {
	Mode     uint32 // the permissions, with the setuid, setgid and sticky bits
	UID, GID int
	// Times are those of the last access and the last change; nil leaves both as they are.
	Times []unix.Timespec
}

// OfRoot are the attributes of a merged root directory. e is the root's entry in the topmost layer that has one, nil if
// no layer has one: then the root is 0755 and belongs to 0:0, as parents are that no layer has an entry for.
func OfRoot(e *layer.Entry) Attributes {
	if e == nil {
		return Attributes{Mode: 0o755}
	}
	return Attributes{Mode: e.Mode, UID: e.UID, GID: e.GID}
}

// OfDir reads the attributes of a directory, times included.
func OfDir(dir string) (Attributes, error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return Attributes{}, &fs.PathError{Op: "stat", Path: dir, Err: err}
	}
	owner := identity.Current().OwnerOf(&st)
	return Attributes{
		Mode: st.Mode & 0o7777, UID: owner.UID, GID: owner.GID, Times: []unix.Timespec{st.Atim, st.Mtim},
	}, nil
}

// Mount mounts lowers, the topmost first, at Root in the existing folder dir, which nothing else
// may use. overlayfs shows the attributes of the topmost directory, which is the new upper one: it
// gets those of root, whatever the umask is. After an error nothing is mounted; the folder is the
// caller's to remove.
func Mount(dir string, lowers []store.Lower, root Attributes) (*Workspace, error) {
	w := &Workspace{dir: dir}
	work := filepath.Join(dir, "work")
	for _, d := range []string{w.Root(), w.Layer(), w.Upper(), work} {
		if err := Mkdir(d, 0o755); err != nil {
			return nil, fmt.Errorf("preparing a root file system: %w", err)
		}
	}
	if err := root.apply(w.Upper()); err != nil {
		return nil, fmt.Errorf("preparing a root file system: %w", err)
	}
	dirs, detach, err := attach(filepath.Join(dir, "lowers"), lowers)
	defer detach() // the overlay keeps what it is made of
	if err != nil {
		return nil, err
	}
	if err := snapshot.Mount(w.Root(), dirs, snapshot.Options{Upper: w.Upper(), Work: work}); err != nil {
		return nil, err
	}
	w.mounted = true
	return w, nil
}

// Mkdir makes a directory that has these permissions whatever the umask is.
func Mkdir(name string, mode fs.FileMode) error {
	if err := os.Mkdir(name, mode); err != nil {
		return err
	}
	return os.Chmod(name, mode)
}

// apply gives a directory the attributes. The mode comes after the owner, since chown(2) takes the setuid bit away.
func (a Attributes) apply(dir string) error {
	if err := identity.Current().OwnPath(dir, identity.Owner{UID: a.UID, GID: a.GID}); err != nil {
		return err
	}
	if err := unix.Chmod(dir, a.Mode); err != nil {
		return &fs.PathError{Op: "chmod", Path: dir, Err: err}
	}
	if a.Times == nil {
		return nil
	}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, dir, a.Times, 0); err != nil {
		return &fs.PathError{Op: "utimensat", Path: dir, Err: err}
	}
	return nil
}

// Root is where the file system is mounted.
func (w *Workspace) Root() string { return filepath.Join(w.dir, "root") }

// Layer is the folder that holds the upper directory as "fs": the form in which the store keeps a layer as a tree.
func (w *Workspace) Layer() string { return filepath.Join(w.dir, "layer") }

// Upper is the upper directory. What is in it is whole once Unmount has returned.
func (w *Workspace) Upper() string { return filepath.Join(w.Layer(), "fs") }

// Unmount takes the file system away, and leaves the upper directory. A second call does nothing.
func (w *Workspace) Unmount() error {
	if !w.mounted {
		return nil
	}
	w.mounted = false
	return snapshot.Unmount(w.Root())
}
