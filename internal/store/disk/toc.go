package disk

import (
	"bufio"
	"bytes"
	"os"

	"github.com/strata-build/strata/internal/layer"
)

// WriteTOC writes a table of contents to a new file.
func WriteTOC(path string, t layer.Table) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<18)
	if err := t.Encode(w); err != nil {
		f.Close()
		return err
	}
	if err := w.Flush(); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// ReadTOC reads what WriteTOC wrote.
func ReadTOC(path string) (*layer.TOC, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	t := &layer.TOC{}
	if err := t.Decode(bytes.NewReader(data)); err != nil {
		return nil, err
	}
	return t, nil
}

// ReadPacked is ReadTOC of a table that stays encoded.
func ReadPacked(path string) (*layer.Packed, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return layer.NewPacked(data)
}
