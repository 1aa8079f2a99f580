package identity

import (
	"sync"

	"golang.org/x/sys/unix"
)

// Ledger holds the owners of files that can have no note beside them, made or given away by a process that runs. It can
// be used by several goroutines.
type Ledger struct {
	mu     sync.Mutex
	owners map[inode]Owner
}

// inode is a file of an upper directory, seen directly or through the overlay: both show the same number, and the time
// at which it was made, which tells it from an earlier file of that number.
type inode struct {
	number uint64
	sec    int64
	nsec   uint32
}

// NewLedger returns an empty ledger.
func NewLedger() *Ledger { return &Ledger{owners: map[inode]Owner{}} }

// Empty says that there is nothing in it.
func (l *Ledger) Empty() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.owners) == 0
}

// Note notes the owner of what has a name in the open directory at, "" for at itself. Links are not followed.
func (l *Ledger) Note(at int, name string, o Owner) error {
	key, err := inodeOf(at, name)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.owners[key] = o
	return nil
}

// Lookup returns what was noted of what has a name in the open directory at, as for Note. A nil ledger holds nothing.
func (l *Ledger) Lookup(at int, name string) (Owner, bool) {
	if l == nil || l.Empty() {
		return Owner{}, false
	}
	key, err := inodeOf(at, name)
	if err != nil {
		return Owner{}, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	o, ok := l.owners[key]
	return o, ok
}

func inodeOf(at int, name string) (inode, error) {
	var st unix.Statx_t
	flags := unix.AT_SYMLINK_NOFOLLOW
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	if err := unix.Statx(at, name, flags, unix.STATX_INO|unix.STATX_BTIME, &st); err != nil {
		return inode{}, err
	}
	return inode{st.Ino, st.Btime.Sec, st.Btime.Nsec}, nil
}
