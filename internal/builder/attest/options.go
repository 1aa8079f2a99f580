package attest

import (
	"context"
	"encoding/csv"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/human/suggest"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/transfer"
)

// Options say what is to be attested of the images of a build. nil fields are not.
type Options struct {
	Provenance *ProvenanceOptions
	SBOM       *SBOMOptions
	// Metadata is what the build's result says of its provenance, for a file of who asked for it. It is attested of nothing.
	Metadata *ProvenanceOptions
}

// Traced says that the build has to note what it takes from elsewhere.
func (o *Options) Traced() bool { return o.Provenance != nil || o.Metadata != nil }

// ProvenanceOptions are those of --provenance.
type ProvenanceOptions struct {
	// Max has the values of build arguments, the steps and the Dockerfile in it, which mode=min has not.
	Max          bool
	BuilderID    string // builder-id=
	Reproducible bool   // reproducible=: the person says so
	Version      string // the program's
	NoVCS        bool   // says nothing of the repository that the context is a checkout of
	// InlineOnly leaves the provenance out of files (inline-only=).
	InlineOnly bool
	// V02 makes it as of SLSA v0.2 instead of v1 (version=).
	V02 bool
}

// SBOMOptions are those of --sbom.
type SBOMOptions struct {
	Scanner Scanner // nil until who asks for the build has set it
}

// Scanner makes bills of materials. It stands higher than the builder.
type Scanner interface {
	// Name says all that decides what Bill gives of an image.
	Name() string
	// Bill is what is attested of an image of the store, or of a state of one of its stages; unread are lists of packages that
	// could not be read, as sentences.
	Bill(ctx context.Context, m *transfer.Mover, id digest.Digest, a About) (bill transfer.Attestation, unread []string, err error)
	// BillOfFiles is what is attested of the files of a build context.
	BillOfFiles(ctx context.Context, files layer.Tree, a About) (bill transfer.Attestation, unread []string, err error)
}

// About is what a bill of materials says of itself.
type About struct {
	Name string    // ExtraSBOM and the stage's, or context; "" is the image's
	Made time.Time // when what it is of was made
}

// ExtraSBOM is before the name of a stage in the name of its bill of materials, as BuildKit has it.
const ExtraSBOM = "sbom-"

// Kinds are the types of attestations.
var kinds = []string{"provenance", "sbom"}

// Set reads an --attest, type=TYPE with attributes, into the options.
func (o *Options) Set(text string) error {
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		return err
	}
	attrs := map[string]string{}
	for _, field := range fields {
		name, value, ok := strings.Cut(field, "=")
		if !ok {
			return fmt.Errorf("%q is not NAME=VALUE", field)
		}
		attrs[name] = value
	}
	kind := attrs["type"]
	delete(attrs, "type")
	if !slices.Contains(kinds, kind) {
		return fmt.Errorf("type=%s: it is provenance or sbom%s", kind, suggest.DidYouMean(kind, kinds))
	}
	return o.set(kind, attrs)
}

// SetKind reads the value of --provenance or --sbom: a boolean, or attributes.
func (o *Options) SetKind(kind, value string) error {
	if on, err := strconv.ParseBool(value); err == nil {
		return o.set(kind, map[string]string{"disabled": strconv.FormatBool(!on)})
	}
	return o.Set("type=" + kind + "," + value)
}

func (o *Options) set(kind string, attrs map[string]string) error {
	off, err := boolean(attrs, "disabled")
	if err != nil {
		return err
	}
	switch {
	case kind == "sbom" && off:
		o.SBOM = nil
	case kind == "sbom":
		o.SBOM = &SBOMOptions{}
		return o.SBOM.set(attrs)
	case off:
		o.Provenance = nil
	default:
		o.Provenance = &ProvenanceOptions{}
		return o.Provenance.set(attrs)
	}
	return nil
}

func (o *ProvenanceOptions) set(attrs map[string]string) (err error) {
	for name, value := range attrs {
		switch name {
		case "disabled":
		case "mode":
			if value != "min" && value != "max" {
				return fmt.Errorf("mode=%s: it is min or max", value)
			}
			o.Max = value == "max"
		case "builder-id":
			o.BuilderID = value
		case "reproducible":
			o.Reproducible, err = boolean(attrs, name)
		case "inline-only":
			o.InlineOnly, err = boolean(attrs, name)
		case "filename":
			return fmt.Errorf("filename=%s: the file is provenance.json; attestation-prefix= of --output puts something before that", value)
		case "version":
			if value != "v1" && value != "v0.2" {
				return fmt.Errorf("version=%s: it is v1 or v0.2", value)
			}
			o.V02 = value == "v0.2"
		default:
			known := []string{"mode", "builder-id", "reproducible", "inline-only", "version", "disabled"}
			return fmt.Errorf("%s is not an attribute of it%s; it takes %s", name, suggest.DidYouMean(name, known), strings.Join(known, ", "))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (o *SBOMOptions) set(attrs map[string]string) error {
	for name := range attrs {
		switch name {
		case "disabled":
		case "generator":
			return fmt.Errorf("generator=%s: strata reads the packages itself, and runs no image for it; leave it out", attrs[name])
		default:
			return fmt.Errorf("%s is not an attribute of it; it takes disabled", name)
		}
	}
	return nil
}

// boolean reads an attribute that is true or false, and false where it is not there.
func boolean(attrs map[string]string, name string) (bool, error) {
	value, ok := attrs[name]
	if !ok {
		return false, nil
	}
	on, err := strconv.ParseBool(value)
	if err != nil {
		return false, fmt.Errorf("%s=%s: it is true or false", name, value)
	}
	return on, nil
}
