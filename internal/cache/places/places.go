// Package places says what kinds of places a cache can be in, and reads what --cache-from and --cache-to say of one. A
// package for each kind has a Kind for the table of them.
package places

import (
	"context"
	"errors"
	"strconv"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/transfer"
	"github.com/strata-build/strata/internal/transfer/registry"
)

// Kind is a kind of place.
type Kind struct {
	Type string // what type= says
	// From and To are the attributes of a --cache-from and of a --cache-to; nil if the kind does not serve there.
	From, To []Attribute
	// NotFrom says what to write in place of a --cache-from of this kind.
	NotFrom string
	// Open opens a place for reading, with what it needs to answer: one that cannot be read, or has no cache, is an
	// error here and not in the middle of a build. want chooses among the images of a name.
	Open func(ctx context.Context, m *transfer.Mover, s Spec, want ocispec.Platform) (*cache.Source, error)
	// Create gives a place to put records into. It asks nobody anything. nil if nothing is written there on its own.
	Create func(m *transfer.Mover, s Spec) (cache.Place, error)
	// Depot opens a place of this kind for layers by themselves; nil if it keeps them with their records only.
	Depot func(m *transfer.Mover, s Spec) (Depot, error)
	// Leases says that machines that build at the same time can share a place of this kind: it is a cache.Sharer.
	Leases bool
	// Blobs opens the blobs of places of this kind, at the locations that such a place tells the store of; nil if they
	// are in registries or OCI layouts.
	Blobs *transfer.BlobSource
}

// Attribute is a NAME=VALUE of a place.
type Attribute struct {
	Name string
	// Value is what a value is, for people ("DIRECTORY"), of an attribute that has to be there. It says where the cache
	// is.
	Value string
	// Check says what is wrong with a value; nil takes any.
	Check func(value string) error
	// Secret says that nobody else is to know the value.
	Secret bool
}

// Name is the attribute that names an image, or a cache in a registry.
var Name = Attribute{Name: "ref", Value: "NAME", Check: func(value string) error {
	_, err := registry.ParseName(value)
	return err
}}

// Options are the attributes of a --cache-to that mean the same for all kinds.
func Options() []Attribute {
	return []Attribute{{Name: modeName, Check: checkMode}, {Name: ignoreErrorName, Check: CheckBool}}
}

// OCIOptions are those of BuildKit that change nothing here, since they are always true, and that scripts have.
func OCIOptions() []Attribute {
	return []Attribute{{Name: "image-manifest", Check: CheckBool}, {Name: "oci-mediatypes", Check: CheckBool}}
}

// Lease is the attribute of a --cache-to that says whether machines that build at the same time share the place, so that
// each step is run by one of them.
var Lease = Attribute{Name: leaseName, Check: CheckBool}

const (
	leaseName       = "lease"
	modeName        = "mode"
	ignoreErrorName = "ignore-error"
)

func checkMode(value string) error {
	if value != "min" && value != "max" {
		return errors.New("it is min, the layers of the image, or max, those of all stages")
	}
	return nil
}

// CheckBool is the Check of an attribute that is true or false.
func CheckBool(value string) error {
	if _, err := strconv.ParseBool(value); err != nil {
		return errors.New("it is true or false")
	}
	return nil
}

// None is no cache: --cache-to none leaves it out of the image.
var None = Kind{Type: "none", To: Options()}

// Sendable leaves out steps whose layers are neither here nor known to be at some place, and gives the layers of the
// others, each once. Those of steps that are KeyOnly are not asked for.
func Sendable(m *transfer.Mover, steps []cache.Step) (kept []cache.Step, diffIDs []digest.Digest, err error) {
	obtainable := map[digest.Digest]bool{"": true}
	for _, s := range steps {
		if s.KeyOnly {
			kept = append(kept, s)
			continue
		}
		d := s.Record.Layer
		if _, known := obtainable[d]; !known {
			if obtainable[d], err = m.Obtainable(d); err != nil {
				return nil, nil, err
			}
			if obtainable[d] {
				diffIDs = append(diffIDs, d)
			}
		}
		if obtainable[d] {
			kept = append(kept, s)
		}
	}
	return kept, diffIDs, nil
}
