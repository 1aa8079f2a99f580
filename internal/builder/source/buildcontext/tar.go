package buildcontext

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer"
)

// FromTar unpacks the tar of a context into the empty directory dir (see Unpack) and opens it, with the rules of
// Dockerfile.dockerignore or .dockerignore. For another Dockerfile call Unpack and Open. The
// caller removes dir after Close.
func FromTar(ctx context.Context, r io.Reader, dir string, l layer.Limits) (*Context, error) {
	if err := Unpack(ctx, r, dir, l); err != nil {
		return nil, err
	}
	return Open(dir, Options{Dockerfile: filepath.Join(dir, "Dockerfile")})
}

// Unpack unpacks a tar, plain or compressed with gzip, bzip2, xz or zstd, into dir, within limits. It works through an os.Root, which
// no symlink of the tar leads out of, and refuses names that climb out with "..", and devices, fifos
// and names longer than 4,096 bytes. Owners are not kept: a context has none.
func Unpack(ctx context.Context, r io.Reader, dir string, l layer.Limits) error {
	l = l.On(dir)
	z, err := layer.Decompress(r, l)
	if err != nil {
		return fmt.Errorf("read context: %w", err)
	}
	defer z.Close()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("unpack context: %w", err)
	}
	defer root.Close()
	u := unpacker{root: root, in: layer.NewTarReader(z, l)}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := u.in.Next()
		if errors.Is(err, io.EOF) {
			if err = drain(z); err == nil {
				return u.finish()
			}
		}
		if limit := (*layer.LimitError)(nil); errors.As(err, &limit) {
			return fmt.Errorf("unpack context: %w", err)
		}
		if err != nil {
			return fmt.Errorf("read context: %w; send a complete tar", err)
		}
		if err := u.entry(h); err != nil {
			return fmt.Errorf("unpack context: %q: %w", h.Name[:min(len(h.Name), 120)], err)
		}
	}
}

// drain reads the padding that follows the end, up to 1 MiB, for the sake of the sender and of the checksum of a
// compressed stream. That the tar ends with blocks of zeros is not asked for: GNU tar and BuildKit take one without them.
func drain(r io.Reader) error {
	_, err := io.CopyN(io.Discard, r, 1<<20)
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

type unpacker struct {
	root *os.Root
	in   *layer.TarReader
	dirs []*tar.Header // modes and times are set at the end, when nothing is written into them any more
}

var errRefused = errors.New("not allowed in a build context")

func (u *unpacker) entry(h *tar.Header) error {
	name := path.Clean(strings.TrimLeft(h.Name, "/"))
	switch {
	case len(h.Name) > unix.PathMax || len(h.Linkname) > unix.PathMax:
		return fmt.Errorf("name longer than %d bytes %w", unix.PathMax, errRefused)
	case !filepath.IsLocal(name):
		return fmt.Errorf("path outside the context %w", errRefused)
	case h.Typeflag == tar.TypeXGlobalHeader, name == "." && h.Typeflag != tar.TypeDir:
		return nil // what would take the place of the root is passed over, as in Docker
	}
	if h.Typeflag == tar.TypeDir {
		if name != "." {
			h.Name = name
			u.dirs = append(u.dirs, h)
		}
		return u.mkdir(name)
	}
	if err := u.clear(name); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		return u.file(name, h)
	case tar.TypeSymlink:
		if err := u.root.Symlink(h.Linkname, name); err != nil {
			return err
		}
		return u.linkTime(name, h)
	case tar.TypeLink:
		target := path.Clean(strings.TrimLeft(h.Linkname, "/"))
		if !filepath.IsLocal(target) {
			return fmt.Errorf("hard link to a path outside the context %w", errRefused)
		}
		return u.root.Link(target, name)
	}
	return fmt.Errorf("entry of type %q %w; leave it out of the tar", h.Typeflag, errRefused)
}

// mkdir makes a directory in place of whatever is not one.
func (u *unpacker) mkdir(name string) error {
	if st, err := u.root.Lstat(name); err == nil && !st.IsDir() {
		if err := u.root.Remove(name); err != nil {
			return err
		}
	}
	return u.root.MkdirAll(name, 0o755)
}

// clear makes room for an entry: a later one replaces an earlier one, and directories that the tar does not
// name are made.
func (u *unpacker) clear(name string) error {
	if dir := path.Dir(name); dir != "." {
		if err := u.root.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	return u.root.RemoveAll(name)
}

func (u *unpacker) file(name string, h *tar.Header) error {
	f, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.Copy(f, u.in); err != nil {
		return err
	}
	for key, value := range h.PAXRecords {
		attr, ok := strings.CutPrefix(key, "SCHILY.xattr.")
		if !ok || !strings.HasPrefix(attr, "user.") && attr != "security.capability" {
			continue
		}
		if err := unix.Fsetxattr(int(f.Fd()), attr, []byte(value), 0); err != nil && !errors.Is(err, unix.ENOTSUP) {
			return fmt.Errorf("set attribute %s: %w", attr, err)
		}
	}
	if err := f.Chmod(fileMode(h)); err != nil {
		return err
	}
	if err := u.root.Chtimes(name, h.ModTime, h.ModTime); err != nil {
		return err
	}
	return f.Close()
}

// linkTime sets the time of a symlink, which os.Root cannot.
func (u *unpacker) linkTime(name string, h *tar.Header) error {
	dir, err := u.root.Open(path.Dir(name))
	if err != nil {
		return err
	}
	defer dir.Close()
	t, err := unix.TimeToTimespec(h.ModTime)
	if err != nil {
		return err
	}
	return unix.UtimesNanoAt(int(dir.Fd()), path.Base(name), []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW)
}

func (u *unpacker) finish() error {
	for i := len(u.dirs) - 1; i >= 0; i-- {
		h := u.dirs[i]
		// What a later entry replaced is left alone.
		if st, err := u.root.Lstat(h.Name); errors.Is(err, fs.ErrNotExist) || err == nil && !st.IsDir() {
			continue
		}
		err := errors.Join(u.root.Chmod(h.Name, fileMode(h)), u.root.Chtimes(h.Name, h.ModTime, h.ModTime))
		if err != nil {
			return fmt.Errorf("unpack context: %w", err)
		}
	}
	return nil
}

func fileMode(h *tar.Header) fs.FileMode {
	return h.FileInfo().Mode() & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky)
}
