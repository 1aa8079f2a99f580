package places

import (
	"errors"
	"slices"
	"strings"

	"github.com/docker/go-units"
)

// Names of the attributes about cache mounts.
const (
	mountsName = "mounts"
	limitName  = "mounts-limit"
)

// defaultLimit is how many bytes a cache mount may have that is sent or restored.
const defaultLimit = 5 << 30

// MountsFrom are the attributes of a --cache-from about the cache mounts that are restored from there: all unless they say
// otherwise.
func MountsFrom() []Attribute { return mountsAttributes() }

// MountsTo are the attributes of a --cache-to about the cache mounts that are sent there: none unless they say otherwise.
func MountsTo() []Attribute { return mountsAttributes() }

func mountsAttributes() []Attribute {
	return []Attribute{{Name: mountsName, Check: checkMounts}, {Name: limitName, Check: checkLimit}}
}

func checkMounts(value string) error {
	ids := mountIDs(value)
	if len(ids) == 0 || slices.Contains(ids, "") || len(ids) > 1 && (slices.Contains(ids, "all") || slices.Contains(ids, "none")) {
		return errors.New("it is all, none, or IDs of cache mounts as their RUNs say them, with ; between them")
	}
	return nil
}

func checkLimit(value string) error {
	if n, err := units.RAMInBytes(value); err != nil || n <= 0 {
		return errors.New("it is a size such as 500MB or 5GB")
	}
	return nil
}

// mountIDs are the IDs that a value lists. A comma does as well where the field is quoted.
func mountIDs(value string) []string {
	ids := strings.FieldsFunc(value, func(r rune) bool { return r == ';' || r == ',' })
	for i, id := range ids {
		ids[i] = strings.TrimLeft(strings.TrimSpace(id), "/")
	}
	return ids
}

// Mounts are cache mounts that a spec speaks of.
type Mounts struct {
	All bool
	IDs []string // without slashes in front
}

// Any says whether there are some.
func (m Mounts) Any() bool { return m.All || len(m.IDs) > 0 }

// Has says whether the cache mount of an ID is one of them.
func (m Mounts) Has(id string) bool {
	return m.All || slices.Contains(m.IDs, strings.TrimLeft(id, "/"))
}

// MountsFrom are those that are restored from a --cache-from.
func (s Spec) MountsFrom() Mounts { return s.mounts("all") }

// MountsTo are those that are sent to a --cache-to.
func (s Spec) MountsTo() Mounts { return s.mounts("none") }

func (s Spec) mounts(value string) Mounts {
	if said, ok := s.Attr[mountsName]; ok {
		value = said
	}
	switch value {
	case "all":
		return Mounts{All: true}
	case "none":
		return Mounts{}
	}
	return Mounts{IDs: mountIDs(value)}
}

// MountsLimit is how many bytes a cache mount may have that is sent or restored.
func (s Spec) MountsLimit() int64 {
	if n, err := units.RAMInBytes(s.Attr[limitName]); err == nil {
		return n // checkLimit has
	}
	return defaultLimit
}
