package layer

import (
	"archive/tar"
	"bytes"
	"fmt"
	"strings"
	"time"
)

// Names with a meaning in a layer's tar (OCI image spec, layer.md, "Whiteouts").
const (
	whiteoutPrefix     = ".wh."
	whiteoutMetaPrefix = ".wh..wh."
	opaqueName         = ".wh..wh..opq"
	xattrRecord        = "SCHILY.xattr." // key of the PAX record that holds an extended attribute
)

// keptXattr says whether an extended attribute belongs to an image. File capabilities and the user's own do; all
// others describe the machine that the files were on (SELinux labels, overlayfs's own marks).
func keptXattr(name string) bool {
	return name == capability || strings.HasPrefix(name, "user.")
}

// maxXattrs bounds the names of a file's attributes together, and each value, in bytes: Linux takes no more
// (XATTR_LIST_MAX and XATTR_SIZE_MAX, xattr(7)).
const maxXattrs = 64 << 10

// checkXattrs says whether a file can have these attributes.
func checkXattrs(xattrs []Xattr) error {
	names := 0
	for _, x := range xattrs {
		if names += len(x.Name) + 1; names > maxXattrs {
			return fmt.Errorf("its extended attributes have names of more than the %d bytes together that Linux allows", maxXattrs)
		}
		if len(x.Name) > MaxName || len(x.Value) > maxXattrs {
			return fmt.Errorf("its extended attribute %q has a name of %d bytes and a value of %d, more than the %d and %d that Linux allows",
				clip(x.Name), len(x.Name), len(x.Value), MaxName, maxXattrs)
		}
	}
	return nil
}

// capability is the attribute with a file's capabilities, the only one that a build puts into layers: so do BuildKit and
// Docker (containerd's archive package, moby's ReadSecurityXattrToTarHeader). Layers of others keep user.* too.
const capability = "security.capability"

// Built are those of a file's attributes that a step's layer holds of it.
func Built(xattrs []Xattr) []Xattr {
	for i, x := range xattrs {
		if x.Name == capability {
			return xattrs[i : i+1 : i+1]
		}
	}
	return nil
}

// appendHeader writes the tar header of an entry, with that of the opaque mark after it where there is one.
func appendHeader(b *bytes.Buffer, e *Entry) error {
	if err := tar.NewWriter(b).WriteHeader(tarHeader(e)); err != nil {
		return fmt.Errorf("writing tar header of %q: %w", clip(e.Path), err)
	}
	if !e.Opaque {
		return nil
	}
	mark := &tar.Header{Typeflag: tar.TypeReg, Name: join(e.Path, opaqueName), ModTime: time.Unix(e.ModTime, 0)}
	if err := tar.NewWriter(b).WriteHeader(mark); err != nil {
		return fmt.Errorf("writing tar header of the opaque mark of %q: %w", clip(e.Path), err)
	}
	return nil
}

// tarHeader is the canonical header: numeric owners only, whole seconds, PAX records only for what ustar has no room for.
func tarHeader(e *Entry) *tar.Header {
	h := &tar.Header{Name: e.Path, Mode: int64(e.Mode), Uid: e.UID, Gid: e.GID, ModTime: time.Unix(e.ModTime, 0)}
	switch e.Type {
	case Dir:
		h.Typeflag = tar.TypeDir
		h.Name += "/"
		if e.Path == "" {
			h.Name = "./"
		}
	case File:
		h.Typeflag, h.Size = tar.TypeReg, e.Size
	case Symlink:
		h.Typeflag, h.Linkname = tar.TypeSymlink, e.Link
	case Hardlink:
		h.Typeflag, h.Linkname = tar.TypeLink, e.Link
	case Char:
		h.Typeflag, h.Devmajor, h.Devminor = tar.TypeChar, int64(e.Major), int64(e.Minor)
	case Block:
		h.Typeflag, h.Devmajor, h.Devminor = tar.TypeBlock, int64(e.Major), int64(e.Minor)
	case Fifo:
		h.Typeflag = tar.TypeFifo
	case Whiteout:
		h.Typeflag = tar.TypeReg
		h.Mode, h.Uid, h.Gid = 0, 0, 0
		h.Name = join(Parent(e.Path), whiteoutPrefix+e.Path[strings.LastIndexByte(e.Path, '/')+1:])
	}
	for _, x := range e.Xattrs {
		if h.PAXRecords == nil {
			h.PAXRecords = make(map[string]string)
		}
		h.PAXRecords[xattrRecord+x.Name] = x.Value
	}
	return h
}

// join appends a name to a directory's path.
func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}
