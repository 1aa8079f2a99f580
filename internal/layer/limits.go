package layer

import (
	"fmt"
	"math"

	"golang.org/x/sys/unix"
)

// Limits bound what is unpacked of what comes from outside: a layer, a tar that ADD unpacks, a build context, an archive
// of images. A field that is 0 has its default, so that nobody unpacks without bounds. Names, attributes and what a tar
// tells beside its files are bounded as well, by what Linux allows: see MaxPath, maxXattrs and maxMetadata.
type Limits struct {
	// Size is how many bytes the files of one tar may have together, and how long a decompressed stream may be.
	Size int64
	// Entries is how many entries a tar may have, those that replace others counted.
	Entries int
	// Ratio is how many times as long as what it is made of something may be: the decompressed stream, and the files of
	// a tar, which holes make longer than the tar. It is judged from ratioFloor on.
	Ratio int64

	free  string // the directory whose file system bounds Size, "" for none
	floor int64  // ratioFloor but in tests
}

// The defaults. The largest images in use have some 100 GB, and no layer of a million entries is known. What real layers
// hold is compressed 2 to 50 times; only zeros, which say nothing, come to gzip's limit of 1032 (zlib.net/zlib_tech.html),
// to xz's 7,000, zstd's 32,000 and bzip2's 1,400,000. A stream of which 99.5 % say nothing is an accident or an attack
// once it is longer than a disk image or a database that was filled with zeros in advance.
const (
	DefaultSize    = 1 << 40 // bytes: 1 TiB, or what is free on the disk if that is less
	DefaultEntries = MaxEntries
	DefaultRatio   = 200
	ratioFloor     = 4 << 30 // bytes: less is unpacked whatever it is made of, in seconds
)

// Unlimited is for what is here already: it was judged when it came.
var Unlimited = Limits{Size: math.MaxInt64, Entries: MaxEntries, Ratio: math.MaxInt64}

// On returns the limits for what is unpacked on the file system of dir: where Size has its default, there may be no more
// than what is free for root.
func (l Limits) On(dir string) Limits {
	var st unix.Statfs_t
	if l.Size > 0 || unix.Statfs(dir, &st) != nil {
		return l
	}
	if free := int64(st.Bfree) * st.Bsize; free < DefaultSize {
		l.Size, l.free = free, dir
	}
	return l
}

// withDefaults fills in what is not set.
func (l Limits) withDefaults() Limits {
	if l.Size <= 0 && l.free == "" {
		l.Size = DefaultSize
	}
	if l.Entries <= 0 {
		l.Entries = DefaultEntries
	}
	if l.Ratio <= 0 {
		l.Ratio = DefaultRatio
	}
	if l.floor == 0 {
		l.floor = ratioFloor
	}
	return l
}

// LimitError says that something is not unpacked, since it is larger than Limits allow.
type LimitError struct {
	Entry string // the entry of a tar with which there is too much, "" where the caller knows it or there is none
	What  string // what there is too much of, and what the person can do
	full  bool   // it is the disk that has no room
}

// Unwrap makes it the disk's error where the disk has no room: no other source of the same bytes would do.
func (e *LimitError) Unwrap() error {
	if e.full {
		return unix.ENOSPC
	}
	return nil
}

func (e *LimitError) Error() string {
	if e.Entry == "" {
		return e.What
	}
	return fmt.Sprintf("entry %q: %s", clip(e.Entry), e.What)
}

// trusted is how each of them can be allowed.
const trusted = "if you trust where it comes from, raise %s in the configuration file (docs/configuration.md)"

// checkSize judges the bytes that the files of a tar have up to and with an entry, or a stream without one.
func (l Limits) checkSize(entry string, before, more int64) error {
	if more <= l.Size-before {
		return nil
	}
	what := fmt.Sprintf("with it there are %d bytes to unpack", uint64(before)+uint64(more))
	if entry == "" {
		what = "it is longer when it is decompressed"
	}
	if l.free != "" && more <= DefaultSize-before {
		return &LimitError{entry, fmt.Sprintf("%s, more than the %d that are free on the disk of %s (if most of them are holes, "+
			"set unpack-size-limit in the configuration file)", what, l.Size, l.free), true}
	}
	allowed := l.Size
	if l.free != "" {
		allowed = DefaultSize
	}
	return &LimitError{entry, fmt.Sprintf("%s, more than the %d bytes that are allowed; "+trusted, what, allowed, "unpack-size-limit"), false}
}

// checkRatio judges out bytes that were made of in bytes.
func (l Limits) checkRatio(in, out int64) error {
	if out <= l.floor || out/l.Ratio <= in {
		return nil
	}
	return &LimitError{What: fmt.Sprintf("%d bytes were unpacked of %d, more than %d times as many, nearly all of them zeros or repeated; "+
		trusted, out, in, l.Ratio, "unpack-ratio-limit")}
}

// checkEntries judges the number of a tar's entries.
func (l Limits) checkEntries(entry string, n int) error {
	switch {
	case n <= l.Entries:
		return nil
	case l.Entries >= MaxEntries:
		return &LimitError{Entry: entry, What: fmt.Sprintf("with it there are more than the %d entries that strata accepts", MaxEntries)}
	}
	return &LimitError{Entry: entry, What: fmt.Sprintf("with it there are more than the %d entries that are allowed; "+trusted, l.Entries, "unpack-entries-limit")}
}
