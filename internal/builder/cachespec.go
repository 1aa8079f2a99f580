package builder

import (
	"encoding/csv"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/strata-build/strata/internal/transfer/registry"
)

// CacheSpec is a --cache-from or --cache-to, in Docker's short form, an image's name, or in buildx's long one:
// type=registry,ref=…,mode=max.
type CacheSpec struct {
	Type string            // "image" for the short form, else what type= says
	Ref  string            // name, or directory
	Attr map[string]string // what else it says
}

// ParseCacheSpec reads a --cache-from or --cache-to.
func ParseCacheSpec(text string) (CacheSpec, error) {
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		return CacheSpec{}, fmt.Errorf("%s: %w", text, err)
	}
	if len(fields) == 1 && !strings.Contains(text, "=") {
		return CacheSpec{Type: "image", Ref: text}, nil
	}
	s := CacheSpec{Attr: map[string]string{}}
	for _, field := range fields {
		name, value, ok := strings.Cut(field, "=")
		if !ok {
			return s, fmt.Errorf("%s: %q is not NAME=VALUE", text, field)
		}
		if name = strings.ToLower(name); name == "type" {
			s.Type = value
		} else {
			s.Attr[name] = value
		}
	}
	if s.Type == "" {
		return s, fmt.Errorf("%s: it needs a type, as in type=registry,ref=NAME", text)
	}
	return s, nil
}

// CheckFrom says what is wrong with the spec as a --cache-from.
func (s *CacheSpec) CheckFrom() error {
	switch s.Type {
	case "image":
		return s.checkName()
	case "registry":
		return s.check("ref")
	case "local":
		return s.check("src")
	case "inline":
		return errors.New("type=inline: an inline cache is in an image: name that image, --cache-from NAME")
	}
	return fmt.Errorf("type=%s is not supported; take type=registry,ref=NAME, type=local,src=DIRECTORY, or a name alone", s.Type)
}

// CheckTo says what is wrong with the spec as a --cache-to.
func (s *CacheSpec) CheckTo() error {
	switch s.Type {
	case "image":
		if s.Ref == "none" || s.Ref == "inline" {
			s.Type, s.Ref = s.Ref, ""
			return nil
		}
		s.Type = "registry"
		return s.checkName()
	case "registry":
		return s.check("ref", "mode", "ignore-error", "image-manifest", "oci-mediatypes")
	case "local":
		return s.check("dest", "mode", "ignore-error", "image-manifest", "oci-mediatypes")
	case "inline", "none":
		return s.check("", "mode", "ignore-error")
	}
	return fmt.Errorf("type=%s is not supported; take type=registry,ref=NAME, type=local,dest=DIRECTORY, type=inline, type=none, or a name alone", s.Type)
}

// check checks the attributes and moves the one that says where the cache is, if there is such, to Ref.
func (s *CacheSpec) check(where string, others ...string) error {
	known := others
	if where != "" {
		known = append([]string{where}, others...)
	}
	for name, value := range s.Attr {
		if !slices.Contains(known, name) {
			return fmt.Errorf("type=%s: %s is not supported; it takes %s", s.Type, name, strings.Join(known, ", "))
		}
		_, err := strconv.ParseBool(value)
		switch {
		case name == "mode" && value != "min" && value != "max":
			return fmt.Errorf("type=%s: mode=%s: it is min, the steps of the image, or max, those of all stages", s.Type, value)
		case name != "mode" && name != where && err != nil:
			return fmt.Errorf("type=%s: %s=%s: it is true or false", s.Type, name, value)
		}
	}
	s.Ref = s.Attr[where]
	switch {
	case where == "":
		return nil
	case s.Ref == "":
		return fmt.Errorf("type=%s needs %s=%s", s.Type, where, map[bool]string{true: "NAME", false: "DIRECTORY"}[where == "ref"])
	case where == "ref":
		return s.checkName()
	}
	return nil
}

func (s *CacheSpec) checkName() error {
	_, err := registry.ParseName(s.Ref)
	return err
}

// max says that the cache has the steps of all stages, not only those of the image.
func (s *CacheSpec) max() bool { return s.Attr["mode"] == "max" }

// ignoreError says that a cache which cannot be written is a warning. CheckTo saw that it is a bool.
func (s *CacheSpec) ignoreError() bool {
	ignore, err := strconv.ParseBool(s.Attr["ignore-error"])
	return err == nil && ignore
}

// String is where the cache is.
func (s *CacheSpec) String() string { return s.Ref }
