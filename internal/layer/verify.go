package layer

import (
	"context"
	"fmt"
	"io"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer/identity"
)

// DamageError says in what a layer's tree is not what its table of contents says.
type DamageError struct {
	Path string // of the first entry that differs
	What string
}

// otherBytes is what is wrong with a file whose contents have another digest.
const otherBytes = "holds other bytes"

func (e *DamageError) Error() string { return fmt.Sprintf("%q %s", clip(e.Path), e.What) }

// VerifyTree compares the tree of a layer in dir, down to the bytes of its files, with the layer's
// table of contents: a *DamageError where they differ. A tree may have more than the table: the
// whiteouts, directories, sockets and attributes that Diff leaves out of a table.
func VerifyTree(ctx context.Context, t *TOC, dir string) error {
	return verifyTree(ctx, t, dir, (*verifier).contents)
}

// VerifyEntries is VerifyTree without reading files: what is missing or cut short shows, a flipped bit
// does not.
func VerifyEntries(ctx context.Context, t *TOC, dir string) error {
	return verifyTree(ctx, t, dir, func(*verifier, int) error { return nil })
}

func verifyTree(ctx context.Context, t *TOC, dir string, contents func(v *verifier, root int) error) error {
	root, err := openRoot(dir)
	if err != nil {
		return fmt.Errorf("verifying a layer: %w", err)
	}
	defer unix.Close(root)
	v := &verifier{upperWalk: upperWalk{ctx: ctx, inodes: map[inode]string{}}, toc: t}
	err = v.compare(root)
	if err == nil {
		err = contents(v, root)
	}
	if err != nil {
		return fmt.Errorf("verifying the layer in %s: %w", dir, err)
	}
	return nil
}

// verifier walks a tree beside a table of contents.
type verifier struct {
	upperWalk
	toc   *TOC
	files []*Entry // those of the tree, whose digests are not known yet
}

// contents reads the files.
func (v *verifier) contents(root int) error {
	open := func(_ context.Context, e *Entry) (io.ReadCloser, error) { return openFileBeneath(root, e.Path) }
	if err := sumFiles(v.ctx, v.files, open); err != nil {
		return err
	}
	for _, e := range v.files {
		if want := v.toc.Lookup(e.Path); want.Digest != "" && want.Digest != e.Digest {
			return &DamageError{e.Path, otherBytes}
		}
	}
	return nil
}

// compare compares everything but what files hold.
func (v *verifier) compare(root int) error {
	var st unix.Stat_t
	if err := unix.Fstat(root, &st); err != nil {
		return err
	}
	e := statEntry("", &st)
	xattrs, m, err := readXattrs(atPath(root, "."))
	if err != nil {
		return err
	}
	m.own(e)
	e.Xattrs, e.Opaque = xattrs, m.opaque
	v.everything = true
	v.entries = append(v.entries, e)
	if err := v.dir(root, ".", "", false); err != nil {
		return err
	}
	have, err := NewTOC(v.entries)
	if err != nil {
		return err
	}
	for _, want := range v.toc.Entries {
		got := have.Lookup(want.Path)
		if got == nil {
			return &DamageError{want.Path, "is missing"}
		}
		if what := want.differs(got); what != "" {
			return &DamageError{want.Path, what}
		}
	}
	for _, got := range have.Entries {
		if got.Type == File {
			if v.toc.Lookup(got.Path) == nil {
				return &DamageError{got.Path, "does not belong to the layer"}
			}
			v.files = append(v.files, got)
		}
	}
	return nil
}

// differs says in what an entry of a tree is not what the table of contents says, digests aside; "" if
// in nothing. The root's time is not compared: it is that of a rename where the table has no root.
func (e *Entry) differs(got *Entry) string {
	differ := Differences(e, got)
	switch {
	case differ.Has(AttrType):
		return fmt.Sprintf("is %s and not %s", got.Type.noun(), e.Type.noun())
	case e.Type == Whiteout:
		return ""
	case differ.Has(AttrLink):
		return fmt.Sprintf("leads to %q and not to %q", clip(got.Link), clip(e.Link))
	case e.Size != got.Size:
		return fmt.Sprintf("has %d bytes and not %d", got.Size, e.Size)
	case differ.Has(AttrContent) && e.Type != File:
		return "is another device"
	case e.Opaque && !got.Opaque:
		return "does not hide what lies below it"
	case differ.Has(AttrOwner) && !e.unnoted():
		return fmt.Sprintf("belongs to %d:%d and not to %d:%d", got.UID, got.GID, e.UID, e.GID)
	case differ.Has(AttrMode) && e.Type != Symlink:
		return fmt.Sprintf("has the mode %o and not %o", got.Mode, e.Mode)
	case differ.Has(AttrTime) && e.Path != "":
		return "has another time"
	}
	if e.Type == Hardlink {
		return ""
	}
	for _, x := range e.Xattrs {
		if e.Type != Symlink && !slices.Contains(got.Xattrs, x) {
			return "lacks the attribute " + x.Name
		}
	}
	return ""
}

// unnoted says that a tree does not tell whose the entry is: only the table of contents does.
func (e *Entry) unnoted() bool {
	return identity.Current().Marked() && (e.Type == Symlink || e.Type == Fifo)
}

// noun is the kind of an entry in a message.
func (t Type) noun() string {
	switch t {
	case Dir:
		return "a directory"
	case File:
		return "a file"
	case Symlink:
		return "a symbolic link"
	case Hardlink:
		return "a hard link"
	case Char, Block:
		return "a device"
	case Fifo:
		return "a named pipe"
	case Whiteout:
		return "a whiteout"
	}
	return "nothing known"
}
