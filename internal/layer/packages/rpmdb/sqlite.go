package rpmdb

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Pages of SQLite's tables (file format, 1.6).
const (
	sqliteHead     = 100 // bytes before the first page's tree
	sqliteInterior = 0x05
	sqliteLeaf     = 0x0d
)

// tables is a SQLite database (https://www.sqlite.org/fileformat2.html). It is read by hand: a file that says what
// "Packages" is can say so with a view, which SQLite would execute, and a tree of pages that leads into itself has no
// end.
type tables struct {
	*walk
	size   uint64 // of a page, in bytes
	usable uint64 // of it
	pages  uint64 // that may still come: a tree has no page twice
}

// sqlite reads rpmdb.sqlite: the table Packages (hnum INTEGER PRIMARY KEY, blob BLOB) has the headers.
func (w *walk) sqlite() error {
	head, err := w.at(0, sqliteHead)
	if err != nil {
		return err
	}
	t := &tables{walk: w, size: uint64(binary.BigEndian.Uint16(head[16:]))}
	if t.size == 1 {
		t.size = 64 << 10
	}
	t.usable = t.size - uint64(head[20])
	if t.size < 512 || t.size&(t.size-1) != 0 || t.usable < 480 {
		return fmt.Errorf("%w: its pages are of %d bytes", errDamaged, t.size)
	}
	if encoding := binary.BigEndian.Uint32(head[56:]); encoding > 1 {
		return errors.New("the database's text is not UTF-8, which rpm does not do")
	}
	root := uint64(0)
	err = t.rows(1, func(row []byte) error {
		c, err := columns(row, 4)
		if err == nil && string(c[0]) == "table" && string(c[1]) == "Packages" {
			root = integer(c[3])
		}
		return err
	})
	if err != nil {
		return err
	}
	if root == 0 {
		return errors.New("the database has no table Packages")
	}
	return t.rows(root, func(row []byte) error {
		c, err := columns(row, 2)
		if err != nil {
			return err
		}
		return t.header(c[1])
	})
}

// rows goes through a table.
func (t *tables) rows(root uint64, visit func(row []byte) error) error {
	t.pages = uint64(len(t.db)) / t.size
	return t.tree(root, visit)
}

// tree goes through the pages below one. It is no deeper than there are pages, and honest ones are five deep.
func (t *tables) tree(number uint64, visit func(row []byte) error) error {
	if number == 0 || t.pages == 0 {
		return fmt.Errorf("%w: a tree of pages leads into itself", errDamaged)
	}
	t.pages--
	page, err := t.at((number-1)*t.size, t.size)
	if err != nil {
		return err
	}
	head := uint64(0)
	if number == 1 {
		head = sqliteHead
	}
	kind, count := page[head], uint64(binary.BigEndian.Uint16(page[head+3:]))
	start := head + 8
	if kind == sqliteInterior {
		start += 4
	} else if kind != sqliteLeaf {
		return fmt.Errorf("%w: a page is none of a table", errDamaged)
	}
	pointers, err := cut(page, start, 2*count)
	if err != nil {
		return err
	}
	for ; len(pointers) > 0; pointers = pointers[2:] {
		at := uint64(binary.BigEndian.Uint16(pointers))
		if kind == sqliteLeaf {
			err = t.cell(page, at, visit)
		} else {
			err = t.child(page, at, visit)
		}
		if err != nil {
			return err
		}
	}
	if kind == sqliteInterior {
		return t.child(page, head+8, visit)
	}
	return nil
}

// child goes through the tree whose number stands on a page.
func (t *tables) child(page []byte, at uint64, visit func(row []byte) error) error {
	number, err := cut(page, at, 4)
	if err != nil {
		return err
	}
	return t.tree(uint64(binary.BigEndian.Uint32(number)), visit)
}

// cell visits a row: its length, its number, its bytes, and the page on which they go on if they are too long for
// this one.
func (t *tables) cell(page []byte, at uint64, visit func(row []byte) error) error {
	if _, err := cut(page, at, 0); err != nil {
		return err
	}
	length, rest, err := varint(page[at:])
	if err != nil {
		return err
	}
	if _, rest, err = varint(rest); err != nil {
		return err
	}
	if err := t.take(length); err != nil {
		return err
	}
	here := t.local(length)
	part, err := cut(rest, 0, here)
	if err != nil {
		return err
	}
	if here == length {
		return visit(part)
	}
	number, err := cut(rest, here, 4)
	if err != nil {
		return err
	}
	row, err := t.overflow(part, length, uint64(binary.BigEndian.Uint32(number)))
	if err != nil {
		return err
	}
	return visit(row)
}

// local is how many bytes of a row stand on its page (file format, 1.6: "Cell Payload Overflow Pages").
func (t *tables) local(length uint64) uint64 {
	most := t.usable - 35
	if length <= most {
		return length
	}
	least := (t.usable-12)*32/255 - 23
	if n := least + (length-least)%(t.usable-4); n <= most {
		return n
	}
	return least
}

// overflow puts a row together that goes on on other pages.
func (t *tables) overflow(part []byte, length, number uint64) ([]byte, error) {
	row := append(make([]byte, 0, length), part...)
	for uint64(len(row)) < length {
		if number == 0 {
			return nil, fmt.Errorf("%w: a row has no end", errDamaged)
		}
		page, err := t.at((number-1)*t.size, t.usable)
		if err != nil {
			return nil, err
		}
		row = append(row, page[4:min(t.usable, 4+length-uint64(len(row)))]...)
		number = uint64(binary.BigEndian.Uint32(page))
	}
	return row, nil
}

// columns takes the first n columns of a row apart (file format, 2.1).
func columns(row []byte, n int) ([][]byte, error) {
	length, _, err := varint(row)
	if err != nil {
		return nil, err
	}
	kinds, err := cut(row, 0, length)
	if err != nil {
		return nil, err
	}
	if _, kinds, err = varint(kinds); err != nil {
		return nil, err
	}
	body := row[length:]
	out := make([][]byte, n)
	for i := range out {
		var kind uint64
		if kind, kinds, err = varint(kinds); err != nil {
			return nil, err
		}
		size := kindSize(kind)
		if out[i], err = cut(body, 0, size); err != nil {
			return nil, err
		}
		body = body[size:]
	}
	return out, nil
}

// kindSize is how many bytes a column of a kind has.
func kindSize(kind uint64) uint64 {
	if kind >= 12 {
		return (kind - 12) / 2 // blobs are even, texts odd
	}
	return [12]uint64{0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0}[kind]
}

// integer is the number of a column, big endian.
func integer(b []byte) uint64 {
	n := uint64(0)
	for _, c := range b {
		n = n<<8 | uint64(c)
	}
	return n
}

// varint reads a number of up to nine bytes: seven bits of each, of the ninth all eight.
func varint(b []byte) (n uint64, rest []byte, err error) {
	for i, c := range b {
		if i == 8 {
			return n<<8 | uint64(c), b[9:], nil
		}
		n = n<<7 | uint64(c&0x7f)
		if c < 0x80 {
			return n, b[i+1:], nil
		}
	}
	return 0, nil, fmt.Errorf("%w: a number has no end", errDamaged)
}
