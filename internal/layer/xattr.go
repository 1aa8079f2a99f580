package layer

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer/identity"
)

// marks are the overlayfs attributes that mean something for a layer.
type marks struct {
	opaque   bool
	whiteout bool
	device   string // what an empty file stands for, "" if for nothing
	owner    string // whose it is, "" where the disk says it
}

// own gives an entry the owner that is noted beside the file.
func (m *marks) own(e *Entry) {
	if o, ok := identity.ParseOwner(m.owner); ok {
		e.UID, e.GID = o.UID, o.GID
	}
}

// readXattrs returns the attributes of the file at path, which is not followed if it is a symbolic link: those that
// belong to an image, and overlayfs's marks.
func readXattrs(path string) ([]Xattr, marks, error) {
	var m marks
	var stack [1024]byte
	list := stack[:]
	n, err := unix.Llistxattr(path, list)
	for errors.Is(err, unix.ERANGE) {
		list = make([]byte, 2*len(list))
		n, err = unix.Llistxattr(path, list)
	}
	if err != nil {
		if errors.Is(err, unix.ENOTSUP) {
			return nil, m, nil
		}
		return nil, m, fmt.Errorf("listing extended attributes: %w", err)
	}
	if n == 0 {
		return nil, m, nil
	}
	var kept []Xattr
	id := identity.Current()
	for onDisk := range strings.SplitSeq(strings.TrimSuffix(string(list[:n]), "\x00"), "\x00") {
		mark, name := id.ReadMark(onDisk)
		if mark == identity.OtherMark || mark == identity.NoMark && !keptXattr(name) {
			continue
		}
		value, err := readXattr(path, onDisk)
		if err != nil {
			return nil, m, fmt.Errorf("reading extended attribute %s: %w", onDisk, err)
		}
		switch mark {
		case identity.OpaqueMark:
			m.opaque = value == "y"
		case identity.WhiteoutMark:
			m.whiteout = true
		case identity.SpecialMark:
			m.device = value
		case identity.OwnerMark:
			m.owner = value
		default:
			kept = append(kept, Xattr{name, value})
		}
	}
	slices.SortFunc(kept, func(a, b Xattr) int { return strings.Compare(a.Name, b.Name) })
	return kept, m, nil
}

func readXattr(path, name string) (string, error) {
	value := make([]byte, 256)
	for {
		n, err := unix.Lgetxattr(path, name, value)
		if errors.Is(err, unix.ERANGE) && len(value) < 1<<20 {
			value = make([]byte, 8*len(value))
			continue
		}
		if err != nil {
			return "", err
		}
		return string(value[:n]), nil
	}
}
