package history

import (
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/transfer/registry"
)

// NotFoundError says that nothing in the store is what a person typed. It is a store.ErrNotFound.
type NotFoundError struct {
	Text string
	// Invalid is why nothing can ever have this name; nil for a name or an ID.
	Invalid error
}

func notFound(text string) *NotFoundError {
	e := &NotFoundError{Text: text}
	if text != "" && !isHex(text) {
		_, e.Invalid = registry.ParseName(text)
	}
	return e
}

func (e *NotFoundError) Error() string {
	if e.Invalid != nil {
		return e.Invalid.Error()
	}
	if isHex(e.Text) {
		return fmt.Sprintf("no image or step %s here; `strata images` lists images, `strata history` the steps of one", e.Text)
	}
	return fmt.Sprintf("no image or step %s here; `strata images` lists images, `strata pull %s` gets one", e.Text, e.Text)
}

// Unwrap makes the error a store.ErrNotFound.
func (e *NotFoundError) Unwrap() error { return store.ErrNotFound }

func isHex(text string) bool {
	prefix := strings.TrimPrefix(text, "sha256:")
	return prefix != "" && len(prefix) <= 64 && strings.Trim(prefix, "0123456789abcdef") == ""
}

// Find returns what a person means by text: an image's name, a name with a digest, the ID of an image, a step or
// a history row, or the beginning of one. The config of a row that was never recorded here is kept as a step from
// now on. Errors are a *NotFoundError, or a *store.AmbiguousError where a short ID fits several.
func Find(s *store.Store, text string) (*store.Config, error) {
	_, id, err := s.ByName(text)
	if errors.Is(err, store.ErrNotFound) {
		return FindID(s, text)
	}
	if err != nil {
		return nil, err
	}
	return configOf(s, id, text)
}

// configOf returns the config that text was found to mean. Who removes it meanwhile was faster.
func configOf(s *store.Store, id digest.Digest, text string) (*store.Config, error) {
	c, err := s.Config(id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, notFound(text)
	}
	return c, err
}

// FindID is Find for a text that is no name.
func FindID(s *store.Store, text string) (*store.Config, error) {
	id, err := s.ResolveID(text)
	if err == nil {
		return configOf(s, id, text)
	}
	if !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	if !isHex(text) {
		return nil, notFound(text)
	}
	row, err := findRow(s, strings.TrimPrefix(text, "sha256:"))
	if err != nil {
		return nil, err
	}
	if row == nil {
		return nil, notFound(text)
	}
	if id, err = s.PutConfig(row.Config, "", store.Step); err != nil {
		return nil, err
	}
	return s.Config(id)
}

// findRow searches the histories of all images for the row whose ID begins with prefix; nil if there is none.
func findRow(s *store.Store, prefix string) (*Row, error) {
	images, err := s.Configs(store.Image)
	if err != nil {
		return nil, err
	}
	found := map[digest.Digest]bool{}
	var ids []digest.Digest
	var first *Row
	for _, c := range images {
		rows, err := Rows(s, c.ID)
		if err != nil {
			continue // another image's history need not be readable for this one to be found
		}
		for i, row := range rows {
			if found[row.ID] || !strings.HasPrefix(row.ID.Encoded(), prefix) {
				continue
			}
			found[row.ID] = true
			ids = append(ids, row.ID)
			if first == nil {
				first = &rows[i]
			}
		}
	}
	if len(ids) > 1 {
		return nil, &store.AmbiguousError{Prefix: prefix, IDs: ids}
	}
	return first, nil
}
