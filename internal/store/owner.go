package store

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer/identity"
	"github.com/strata-build/strata/internal/store/disk"
)

// A store is one user's, and its trees are of one identity: the owners of their files are numbers on the disk, which
// root, and each user name space, reads in another way. The symbolic link "identity" in the store's folder says which.
// Who can make trees and opens a store that has none notes who that is; a user who can make none uses such a store as
// well.

func identityLink(root string) string { return filepath.Join(root, "identity") }

// IdentityOf is the name of the identity that the files of images in the store in the folder root are of
// (identity.Name), "" where there are none yet, or no such store. A store of before the link was made is root's, as all
// were.
func IdentityOf(root string) string {
	name, err := os.Readlink(identityLink(root))
	if err != nil || name != identity.Current().Name() && !hasOwners(root) {
		return ""
	}
	return name
}

// hasOwners says that a store has, or may have, files with the owners of images.
func hasOwners(root string) bool {
	for _, dir := range []string{"tmp", "mounts", "laid"} { // work under way, cache mounts and volumes, copies of contexts
		if names, err := os.ReadDir(filepath.Join(root, dir)); err == nil && len(names) > 0 {
			return true
		}
	}
	layers := filepath.Join(root, "layers")
	names, err := os.ReadDir(layers)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(names, func(e fs.DirEntry) bool {
		return disk.Exists(filepath.Join(layers, e.Name(), "fs"))
	})
}

// OtherUserError says that a store belongs to another user.
type OtherUserError struct {
	Root string
	// Owner is that user's number as this process sees it.
	Owner uint32
}

func (e *OtherUserError) Error() string {
	owner := fmt.Sprintf("another user (%d)", e.Owner)
	if e.Owner == 0 {
		owner = "root"
	}
	return fmt.Sprintf("the store %s belongs to %s: run strata as that user, or use a store of your own, with another STRATA_ROOT or without one", e.Root, owner)
}

// OtherIdentityError says that a store's trees are of another identity of the same user.
type OtherIdentityError struct{ Root, Name string }

func (e *OtherIdentityError) Error() string {
	if e.Name == "root" {
		return fmt.Sprintf("the store %s has files with the owners that root gave them, which cannot be read in a user name space: use another store, with STRATA_ROOT", e.Root)
	}
	return fmt.Sprintf("the store %s has files with the owners of a user name space (%s), and strata runs in none or in another one: run it as when the store was made, or use another store, with STRATA_ROOT", e.Root, e.Name)
}

// CheckUser gives an OtherUserError where the store in the folder root is not this user's.
func CheckUser(root string) error {
	var st unix.Stat_t
	err := unix.Stat(filepath.Join(root, "meta.db"), &st)
	if errors.Is(err, unix.EACCES) {
		if err = unix.Stat(root, &st); errors.Is(err, unix.EACCES) {
			return disk.Advised(fmt.Errorf("the store %s is out of reach of this user: %w", root, err),
				"run strata as the one that it belongs to (with sudo, if that is root), or set STRATA_ROOT to a folder of your own")
		}
	}
	if err == nil && int(st.Uid) != os.Geteuid() {
		return &OtherUserError{root, st.Uid}
	}
	return nil
}

// checkIdentity gives an OtherIdentityError where the store's trees are not this process's to read.
func checkIdentity(root string) error {
	if name := IdentityOf(root); name != "" && name != identity.Current().Name() {
		return &OtherIdentityError{root, name}
	}
	return nil
}

// keepIdentity notes whose trees the store has from now on. checkIdentity came before.
func keepIdentity(root string) error {
	id := identity.Current()
	if id.Trees() != nil || IdentityOf(root) != "" {
		return nil
	}
	next := identityLink(root) + "-" + rand.Text()[:8]
	if err := os.Symlink(id.Name(), next); err != nil {
		return err
	}
	return os.Rename(next, identityLink(root))
}
