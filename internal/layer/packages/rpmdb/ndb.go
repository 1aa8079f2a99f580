package rpmdb

import (
	"encoding/binary"
	"fmt"
)

// ndb reads Packages.db, as RPM's lib/backend/ndb/rpmpkg.c writes it: pages of 4096 bytes of slots, the first two of
// which are the header, then the headers of packages, each behind a head of its own at a multiple of 16 bytes. All
// numbers are little endian, of 32 bits.
func (w *walk) ndb() error {
	const page, slot, head = 4096, 16, 16
	first, err := w.at(0, 2*slot)
	if err != nil {
		return err
	}
	if version := binary.LittleEndian.Uint32(first[4:]); version != 0 {
		return fmt.Errorf("version %d of RPM's ndb is not known", version)
	}
	slots, err := w.at(0, uint64(binary.LittleEndian.Uint32(first[12:]))*page)
	if err != nil {
		return err
	}
	for at := 2 * slot; at < len(slots); at += slot {
		s := slots[at : at+slot]
		if string(s[:4]) != "Slot" {
			return fmt.Errorf("%w: a slot is none", errDamaged)
		}
		index := binary.LittleEndian.Uint32(s[4:])
		if index == 0 {
			continue // free
		}
		start := uint64(binary.LittleEndian.Uint32(s[8:])) * head
		h, err := w.at(start, head)
		if err != nil {
			return err
		}
		if string(h[:4]) != "BlbS" || binary.LittleEndian.Uint32(h[4:]) != index {
			return fmt.Errorf("%w: a slot leads to another package", errDamaged)
		}
		length := uint64(binary.LittleEndian.Uint32(h[12:]))
		if err := w.take(length); err != nil {
			return err
		}
		b, err := w.at(start+head, length)
		if err != nil {
			return err
		}
		if err := w.header(b); err != nil {
			return err
		}
	}
	return nil
}
