package view

import (
	"fmt"
	"io/fs"
	"strings"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/look/timeline"
)

// Mode is a type and mode as ls prints them: "drwxr-xr-x".
func Mode(t layer.Type, mode uint32) string {
	m := fs.FileMode(mode & 0o777)
	text := []byte(m.String())
	text[0] = '-'
	switch t {
	case layer.Dir:
		text[0] = 'd'
	case layer.Symlink:
		text[0] = 'l'
	case layer.Char:
		text[0] = 'c'
	case layer.Block:
		text[0] = 'b'
	case layer.Fifo:
		text[0] = 'p'
	}
	for _, s := range []struct {
		bit         uint32
		at          int
		with, alone byte
	}{{0o4000, 3, 's', 'S'}, {0o2000, 6, 's', 'S'}, {0o1000, 9, 't', 'T'}} {
		if mode&s.bit == 0 {
			continue
		}
		if text[s.at] == 'x' {
			text[s.at] = s.with
		} else {
			text[s.at] = s.alone
		}
	}
	return string(text)
}

// owner is "0:0".
func owner(uid, gid int) string { return fmt.Sprintf("%d:%d", uid, gid) }

// What says how an event differs from the one before of its path: "mode 0644 → 0755, owner 0:0 → 33:33".
func What(before, after timeline.Event) string {
	var words []string
	for w := layer.AttrType; w <= layer.AttrTime; w <<= 1 {
		if !after.What.Has(w) {
			continue
		}
		switch w {
		case layer.AttrType:
			words = append(words, typeName(before.Type)+" → "+typeName(after.Type))
		case layer.AttrMode:
			words = append(words, fmt.Sprintf("mode %04o → %04o", before.Mode, after.Mode))
		case layer.AttrOwner:
			words = append(words, fmt.Sprintf("owner %s → %s", owner(before.UID, before.GID), owner(after.UID, after.GID)))
		case layer.AttrLink:
			words = append(words, fmt.Sprintf("link %s → %s", human.Quoted(before.Link), human.Quoted(after.Link)))
		default:
			words = append(words, w.String())
		}
	}
	return strings.Join(words, ", ")
}

func typeName(t layer.Type) string {
	switch t {
	case layer.Dir:
		return "directory"
	case layer.Symlink:
		return "symbolic link"
	case layer.Char, layer.Block:
		return "device"
	case layer.Fifo:
		return "fifo"
	}
	return "file"
}
