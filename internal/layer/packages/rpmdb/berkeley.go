package rpmdb

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// What pages and items are, of Berkeley DB's src/dbinc/db_page.h.
const (
	berkeleyMagic    = 0x061561 // of a hash
	pageHashUnsorted = 2        // before Berkeley DB 4.6: RHEL 5
	pageOverflow     = 7
	pageHash         = 13
	pageHead         = 26 // bytes
	itemHere         = 1
	itemOverflow     = 3
)

// berkeleyOrder is the order of the bytes in a hash of Berkeley DB, that of the machine that made it; nil of all else.
func berkeleyOrder(db []byte) binary.ByteOrder {
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		if len(db) >= 512 && order.Uint32(db[12:]) == berkeleyMagic {
			return order
		}
	}
	return nil
}

func isBerkeley(db []byte) bool { return berkeleyOrder(db) != nil }

// hash is a hash of Berkeley DB.
type hash struct {
	*walk
	order binary.ByteOrder
	size  uint64 // of a page, in bytes
}

// berkeley reads Packages, page by page. A hash has its items in pairs, key and value. Values that are larger than a
// part of a page, as packages' headers mostly are, stand in a chain of pages of their own.
func (w *walk) berkeley() error {
	h := &hash{walk: w, order: berkeleyOrder(w.db)}
	h.size = uint64(h.order.Uint32(w.db[20:]))
	if h.size < 512 || h.size > 64<<10 || h.size&(h.size-1) != 0 {
		return fmt.Errorf("%w: its pages are of %d bytes", errDamaged, h.size)
	}
	if w.db[24] != 0 {
		return errors.New("the database is encrypted")
	}
	for number := uint64(1); number < uint64(len(w.db))/h.size; number++ {
		page, err := h.page(number)
		if err != nil {
			return err
		}
		if page[25] != pageHash && page[25] != pageHashUnsorted {
			continue
		}
		if err := h.values(page); err != nil {
			return err
		}
	}
	return nil
}

func (h *hash) page(number uint64) ([]byte, error) { return h.at(number*h.size, h.size) }

// values reads the values of a page of the hash.
func (h *hash) values(page []byte) error {
	offsets, err := cut(page, pageHead, 2*uint64(h.order.Uint16(page[20:])))
	if err != nil {
		return err
	}
	end := h.size // of the item before, which is behind
	for i := 0; 2*i < len(offsets); i++ {
		start := uint64(h.order.Uint16(offsets[2*i:]))
		if start < pageHead+uint64(len(offsets)) || start >= end {
			return fmt.Errorf("%w: items of a page overlap", errDamaged)
		}
		if i%2 == 1 {
			if err := h.item(page[start:end]); err != nil {
				return err
			}
		}
		end = start
	}
	return nil
}

// item reads a value: a kind, and behind it the header, or where it stands.
func (h *hash) item(item []byte) error {
	switch {
	case item[0] == itemHere && len(item) > 1+4: // four bytes are the number of the next package
		return h.header(item[1:])
	case item[0] == itemOverflow && len(item) >= 12:
		b, err := h.chain(uint64(h.order.Uint32(item[4:])), uint64(h.order.Uint32(item[8:])))
		if err != nil {
			return err
		}
		return h.header(b)
	}
	return nil
}

// chain puts together the n bytes that begin on a page.
func (h *hash) chain(number, n uint64) ([]byte, error) {
	if err := h.take(n); err != nil {
		return nil, err
	}
	b := make([]byte, 0, n)
	for uint64(len(b)) < n {
		page, err := h.page(number)
		if err != nil {
			return nil, err
		}
		part, err := cut(page, pageHead, uint64(h.order.Uint16(page[22:])))
		if err != nil {
			return nil, err
		}
		if page[25] != pageOverflow || len(part) == 0 || uint64(len(b)+len(part)) > n {
			return nil, fmt.Errorf("%w: a package's pages are not in a chain", errDamaged)
		}
		b = append(b, part...)
		number = uint64(h.order.Uint32(page[16:]))
	}
	return b, nil
}
