// Package layer turns a layer from one of its forms into another: a tar stream, a tree on disk that
// overlayfs takes as it stands, and a table of contents (TOC) that says what is in it without either.
//
// The package knows file formats only. Where layers rest, and in which form, is the store's business.
package layer

import (
	"cmp"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Type is the kind of a TOC entry.
type Type byte

// The kinds of entries. A whiteout hides Path in the layers below; it is `.wh.<name>` in a tar and a
// character device 0/0 in a tree (OCI image spec, "Whiteouts"; kernel, Documentation/filesystems/overlayfs).
const (
	Dir      Type = 'd'
	File     Type = 'f'
	Symlink  Type = 'l'
	Hardlink Type = 'h' // Link is the path, in this layer, of the entry it shares its inode with
	Char     Type = 'c'
	Block    Type = 'b'
	Fifo     Type = 'p'
	Whiteout Type = 'w'
)

// Xattr is one extended attribute. Values are bytes and need not be text.
type Xattr struct {
	Name, Value string
}

// Entry is one path of a layer, of a merged stack of layers, or of a build context.
type Entry struct {
	// Path is slash-separated and relative to the root, without a leading "/" or "./": "usr/bin/env".
	// The root itself is "". Bytes as on disk, not necessarily UTF-8.
	Path string
	Type Type
	// Opaque says of a directory that nothing of the layers below shows through it.
	Opaque   bool
	Mode     uint32 // permission bits with setuid, setgid and sticky: 0 to 07777, as in st_mode
	UID, GID int
	Size     int64         // bytes; of regular files only
	Digest   digest.Digest // sha256 of the contents; of regular files only, "" where not known yet
	ModTime  int64         // seconds since 1970; not part of the content ID
	Link     string        // target of a Symlink as written, or the Path that a Hardlink shares
	Major    uint32        // device numbers, of Char and Block
	Minor    uint32
	Xattrs   []Xattr // sorted by name
	// Offset is where the contents start in the layer's uncompressed tar, for layers that rest as one.
	Offset int64
}

// Compare orders paths canonically: bytewise, but with "/" before every other byte, so that a directory
// is followed at once by what it holds and parents come before children.
func Compare(a, b string) int {
	i := commonPrefix(a, b)
	if i == len(a) || i == len(b) {
		return cmp.Compare(len(a), len(b))
	}
	switch {
	case a[i] == '/':
		return -1
	case b[i] == '/':
		return 1
	}
	return cmp.Compare(a[i], b[i])
}

// commonPrefix is the number of bytes that a and b have in common at their beginning. Neighbours in a TOC share
// most of theirs, hence the longer steps.
func commonPrefix(a, b string) int {
	n, i := min(len(a), len(b)), 0
	for i+16 <= n && a[i:i+16] == b[i:i+16] {
		i += 16
	}
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}

// Parent returns the path of the directory that holds path, "" for those in the root.
func Parent(path string) string {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i]
	}
	return ""
}
