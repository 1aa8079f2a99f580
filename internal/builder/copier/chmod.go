package copier

import (
	"fmt"
	"os"
	"strconv"

	mode "github.com/tonistiigi/dchapes-mode"

	"github.com/strata-build/strata/internal/layer"
)

// chmod is a --chmod: an octal mode, or changes by FreeBSD's chmod(1), whose grammar is BuildKit's.
// nil changes nothing.
type chmod struct {
	octal   uint32
	changes *mode.Set
}

// CheckChmod refuses what is no --chmod.
func CheckChmod(text string) error {
	_, err := parseChmod(text)
	return err
}

// parseChmod reads the value of --chmod; "" is nil.
func parseChmod(text string) (*chmod, error) {
	if text == "" {
		return nil, nil
	}
	if n, err := strconv.ParseUint(text, 8, 32); err == nil && n <= 0o7777 {
		return &chmod{octal: uint32(n)}, nil
	}
	changes, err := mode.ParseWithUmask(text, 0)
	if err != nil {
		return nil, fmt.Errorf("invalid --chmod=%s: it takes an octal mode such as 0644, or changes such as u=rwX,go=rX", text)
	}
	return &chmod{changes: &changes}, nil
}

// of is the mode that a copy of the entry has. Symbolic links have none.
func (m *chmod) of(e *layer.Entry) uint32 {
	switch {
	case m == nil || e.Type == layer.Symlink:
		return e.Mode
	case m.changes == nil:
		return m.octal
	}
	old := os.FileMode(e.Mode & 0o777)
	for _, bit := range specialBits() {
		if e.Mode&bit.octal != 0 {
			old |= bit.mode
		}
	}
	if e.Type == layer.Dir {
		old |= os.ModeDir
	}
	changed := m.changes.Apply(old)
	made := uint32(changed.Perm())
	for _, bit := range specialBits() {
		if changed&bit.mode != 0 {
			made |= bit.octal
		}
	}
	return made
}

type specialBit struct {
	octal uint32
	mode  os.FileMode
}

func specialBits() []specialBit {
	return []specialBit{{0o4000, os.ModeSetuid}, {0o2000, os.ModeSetgid}, {0o1000, os.ModeSticky}}
}

// parent is the mode of a directory that is made on the way to the destination: the nine bits of an octal mode, and
// unchanged otherwise (fsutil copy.go, prepareTargetDir).
func (m *chmod) parent(mode uint32) uint32 {
	if m == nil || m.changes != nil {
		return mode
	}
	return m.octal & 0o777
}
