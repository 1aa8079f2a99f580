package tracefs

import (
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/observed"
)

// servedLayer is a layer in the server.
type servedLayer struct {
	place    int // among those of the mount
	recorder *observed.Recorder
	below    map[string]*layer.Entry // what shows at the directories that the layer has no entry for
	files    contents
	lazy     bool // what is read of files has to be asked for
}

// readLayer makes a layer of what the server is given. The file files is its own then.
func readLayer(toc, below, files *os.File) (l servedLayer, err error) {
	t, err := readTOC(toc)
	if err != nil {
		return l, err
	}
	b, err := readTOC(below)
	if err != nil {
		return l, err
	}
	st, err := files.Stat()
	if err != nil {
		return l, err
	}
	l = servedLayer{
		recorder: observed.NewRecorder(observed.NewView(t)),
		below:    make(map[string]*layer.Entry, len(b.Entries)),
		files:    contents{files, st.IsDir()},
	}
	for _, e := range b.Entries {
		l.below[e.Path] = e
	}
	return l, nil
}

func closeLayers(layers []servedLayer) {
	for _, l := range layers {
		l.files.file.Close()
	}
}

// contents is where the files of a layer are read from: its tar, or its tree.
type contents struct {
	file *os.File
	tree bool
}

// readAt reads what a File entry of the layer's table of contents has at an offset; fewer bytes than p holds only at
// the end of the file. It returns no io.EOF.
func (c contents) readAt(e *layer.Entry, p []byte, offset int64) (int, error) {
	p = p[:max(0, min(int64(len(p)), e.Size-offset))]
	if len(p) == 0 {
		return 0, nil
	}
	f := c.file
	if c.tree {
		var err error
		if f, err = c.open(e.Path); err != nil {
			return 0, err
		}
		defer f.Close()
	} else {
		offset += e.Offset
	}
	n, err := f.ReadAt(p, offset)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF // the file is shorter than the table of contents says
	}
	return n, err
}

// open opens a file of the tree, by a path without symbolic links.
func (c contents) open(path string) (*os.File, error) {
	fd, err := unix.Openat2(int(c.file.Fd()), path, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NOFOLLOW | unix.O_NOATIME,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// modTime is when a file of the tree was changed, finer than the seconds of the table of contents; false where that is
// all that is known.
func (c contents) modTime(e *layer.Entry) (unix.Timespec, bool) {
	if !c.tree || e.Type != layer.File {
		return unix.Timespec{}, false
	}
	f, err := c.open(e.Path)
	if err != nil {
		return unix.Timespec{}, false // reading it tells why
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Mtim.Sec != e.ModTime {
		return unix.Timespec{}, false
	}
	return st.Mtim, true
}
