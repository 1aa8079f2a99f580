package chunked

import (
	"archive/tar"
	"fmt"

	"github.com/strata-build/strata/internal/layer"
)

// types are those of a table's entries in a tar.
var types = map[string]byte{
	"reg": tar.TypeReg, "dir": tar.TypeDir, "symlink": tar.TypeSymlink, "hardlink": tar.TypeLink, "char": tar.TypeChar, "block": tar.TypeBlock,
	"fifo": tar.TypeFifo,
}

// header is an entry as it stands in the layer's tar.
func (e *entry) header() (*tar.Header, error) {
	kind, ok := types[e.Type]
	if !ok {
		return nil, fmt.Errorf("it has the type %q", e.Type)
	}
	if e.Type == "reg" && e.Size < 0 {
		return nil, fmt.Errorf("its size is %d", e.Size)
	}
	at, err := e.modTime()
	if err != nil {
		return nil, err
	}
	xattrs, err := e.xattrs()
	if err != nil {
		return nil, err
	}
	h := &tar.Header{
		Typeflag: kind, Name: e.Name, Linkname: e.LinkName, Mode: e.Mode, Uid: e.UID, Gid: e.GID, ModTime: at,
		Devmajor: e.DevMajor, Devminor: e.DevMinor,
	}
	if e.Type == "reg" {
		h.Size = e.Size
	}
	if len(xattrs) > 0 {
		h.PAXRecords = layer.XattrRecords(xattrs)
	}
	return h, nil
}
