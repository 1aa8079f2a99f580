// Package session is one process's use of the store: its folder for work under way, below tmp/, the
// locks that it holds, and clearing away what killed processes left.
package session

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/store/db"
	"github.com/strata-build/strata/internal/store/disk"
)

// Session is this process's use of a store. Its folder tmp/<start>-<random> is made when it is
// first needed. The file "lock" in it is locked as long as the process lives, by which others know
// what is garbage; its name starts with the time at which the process began, by which pruning knows
// what it may still use.
//
// Its methods may be called from several goroutines.
type Session struct {
	root     string
	boot     string // the boot ID
	readOnly bool

	mu    sync.Mutex
	dir   string   // "" before Begin
	lock  *os.File // of dir
	held  []*os.File
	notes []string
	marks map[string]*mark // by name

	scratch *Session // of a store that cannot be written to: see Scratch
}

// Open begins the use of the store in the folder root, and removes what killed processes left in its tmp/.
func Open(root string) (*Session, error) {
	s := &Session{root: root, boot: bootID(), marks: map[string]*mark{}}
	if err := s.sweep(); err != nil {
		return nil, fmt.Errorf("clearing away what a killed process left in %s: %w", s.tmp(), err)
	}
	return s, nil
}

// OpenReadOnly begins the use of a store that cannot be written to: nothing is cleared away, and work cannot begin.
func OpenReadOnly(root string) *Session {
	return &Session{root: root, boot: bootID(), readOnly: true, marks: map[string]*mark{}}
}

// ReadOnly says that the store can be looked at only.
func (s *Session) ReadOnly() bool { return s.readOnly }

// MakeRoom gives up the store's reserve if its disk is full. It is for those who are about to remove something.
func (s *Session) MakeRoom() {
	if !s.readOnly {
		disk.GiveUpReserve(s.root)
	}
}

func (s *Session) tmp() string { return filepath.Join(s.root, "tmp") }

// What begins the name of a session's folder that somebody makes or removes.
const (
	making   = ".new-"
	removing = ".gone-"
)

// Begin declares that this process uses what it finds in the store from now on, so that a prune that runs
// at the same time leaves it alone. Calling it again does nothing.
func (s *Session) Begin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.begin()
}

// BeginReading is Begin for who only reads. Of a store that cannot be written to nobody can remove anything: there is
// nothing to declare.
func (s *Session) BeginReading() error {
	if s.readOnly {
		return nil
	}
	return s.Begin()
}

func (s *Session) begin() error {
	if s.dir != "" {
		return nil
	}
	if s.readOnly {
		return &disk.ReadOnlyError{Root: s.root}
	}
	// A folder without a locked file would be garbage to another process: make it under a hidden name, lock
	// the file in it, and rename. As long as that takes, tmp/ itself is locked, so that what has such a name while
	// nobody has the lock is known to be of a process that was killed.
	guard, err := lockTmp(s.tmp(), unix.LOCK_SH)
	if err != nil {
		return fmt.Errorf("making a folder for work under way: %w", s.Explain(err))
	}
	defer guard.Close()
	dir, err := os.MkdirTemp(s.tmp(), making)
	if err != nil {
		return fmt.Errorf("making a folder for work under way: %w", s.Explain(err))
	}
	lock, err := disk.CreateLock(dir, false)
	if err != nil {
		return fmt.Errorf("making a folder for work under way: locking %s: %w", dir, err)
	}
	if err := os.Symlink(s.boot, bootLink(dir)); err != nil {
		lock.Close()
		return fmt.Errorf("making a folder for work under way: %w", s.Explain(err))
	}
	name := filepath.Join(s.tmp(), fmt.Sprintf("%d-%s", db.Now(), strings.TrimPrefix(filepath.Base(dir), making)))
	if err := os.Rename(dir, name); err != nil {
		lock.Close()
		return fmt.Errorf("making a folder for work under way: %w", err)
	}
	s.dir, s.lock = name, lock
	return nil
}

// Temp makes a new folder for work under way, on the disk of the store, which goes with the process.
func (s *Session) Temp(name string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(s.dir, name+"-")
	if err != nil {
		return "", fmt.Errorf("making a folder for work under way: %w", s.Explain(err))
	}
	return dir, nil
}

// Hold keeps a lock until the session is closed. The file may be closed before.
func (s *Session) Hold(lock *os.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = append(s.held, lock)
}

// Note keeps a line that tells a person, when the command ends, of what was damaged and is made again. The same
// line is kept once.
func (s *Session) Note(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.notes, line) {
		s.notes = append(s.notes, line)
	}
}

// Healed are the lines of Note.
func (s *Session) Healed() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.notes)
}

// Close ends the session: its locks are free, and its folder is removed. Where Sync did not come after
// all that was marked, the marks stay, and whoever opens the store next waits for the disk instead.
func (s *Session) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.leaveScratch()
	if s.dir != "" {
		err = errors.Join(err, s.clear(), s.lock.Close())
		s.dir = ""
	}
	for _, lock := range s.held {
		_ = lock.Close() // some were given back before
	}
	s.held = nil
	return err
}

// clear removes the session's folder, or what is in it beside marks.
func (s *Session) clear() error {
	if len(s.marks) == 0 {
		gone := filepath.Join(s.tmp(), removing+filepath.Base(s.dir))
		if err := os.Rename(s.dir, gone); err != nil {
			gone = s.dir // removed all the same
		}
		return os.RemoveAll(gone)
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(s.dir, e.Name())
		if path == bootLink(s.dir) || path == marksOf(s.dir) || e.Name() == filepath.Base(s.lock.Name()) {
			continue
		}
		err = errors.Join(err, os.RemoveAll(path))
	}
	return err
}

// Shortage says that the store's disk is full, and what a person can do about it; "" where it is not.
func (s *Session) Shortage() string {
	if disk.Fits(s.tmp(), disk.Full) {
		return ""
	}
	return disk.Shortage(s.root)
}

// Explain adds to an error of the disk what a person can do about it: disk.Explain for the store's disk.
func (s *Session) Explain(err error) error { return disk.Explain(s.root, err) }

// LiveFolders are those that Temp made of a name in processes which have the store open now, this one among them.
func (s *Session) LiveFolders(name string) ([]string, error) {
	sessions, err := os.ReadDir(s.tmp())
	if err != nil {
		return nil, err
	}
	var all []string
	for _, e := range sessions {
		dir := filepath.Join(s.tmp(), e.Name())
		found, err := filepath.Glob(filepath.Join(dir, name+"-*"))
		if err != nil || len(found) == 0 {
			continue
		}
		if alive, err := disk.InUse(dir); err == nil && alive {
			all = append(all, found...)
		}
	}
	return all, nil
}
