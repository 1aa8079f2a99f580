package layer

import (
	"context"
	"os"

	"golang.org/x/sys/unix"
)

// behindEach is after how many bytes the kernel is asked to begin with writing them to the disk.
const behindEach = 16 << 20

// behindPiece is how many bytes are written at once. Of a longer piece the kernel makes pages of up to 2 MiB in its
// cache, for which it moves others about where memory is in pieces: 500 MB took 0.2 to 0.7 s of the processor in pieces
// of 1 MiB, and 0.2 s in these.
const behindPiece = 256 << 10

// Behind writes to a file, and has the kernel bring its bytes to the disk meanwhile: who waits for the disk at the
// end of a build waits for less. Nothing is waited for here.
type Behind struct {
	f           *os.File
	asked, size int64 // up to where the kernel was asked, and what was written
}

// NewBehind writes to f, of which the first bytes are there.
func NewBehind(f *os.File, size int64) *Behind { return &Behind{f: f, asked: size, size: size} }

// Write implements io.Writer.
func (b *Behind) Write(p []byte) (int, error) {
	n, err := b.pieces(p)
	b.size += int64(n)
	if b.size-b.asked >= behindEach {
		_ = unix.SyncFileRange(int(b.f.Fd()), b.asked, b.size-b.asked, unix.SYNC_FILE_RANGE_WRITE) // only a hint
		b.asked = b.size
	}
	return n, err
}

func (b *Behind) pieces(p []byte) (written int, err error) {
	for {
		n, err := b.f.Write(p[written:min(len(p), written+behindPiece)])
		if written += n; err != nil || written == len(p) {
			return written, err
		}
	}
}

// largeFile is how many bytes a file has at least that beginWriting looks at.
const largeFile = 1 << 20

// beginWriting has the kernel begin to bring the large files of a tree to the disk, which it would do in 30 seconds,
// or when somebody waits for it.
func beginWriting(ctx context.Context, large []string, root int) {
	for _, path := range large {
		if ctx.Err() != nil {
			return
		}
		if f, err := openFileBeneath(root, path); err == nil {
			_ = unix.SyncFileRange(int(f.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE) // only a hint
			f.Close()
		}
	}
}
