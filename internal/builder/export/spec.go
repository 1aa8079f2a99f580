package export

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"

	"github.com/strata-build/strata/internal/human/suggest"
	"github.com/strata-build/strata/internal/layer"
)

// Kind is the type of an output.
type Kind string

// The kinds of outputs. type=registry is an Image that is pushed.
const (
	ToImage   Kind = "image"     // into the store, and to registries if it is pushed
	OCI       Kind = "oci"       // an OCI layout, in a tar or a directory
	Docker    Kind = "docker"    // an archive for docker load, or without a dest into the store
	Local     Kind = "local"     // files in a directory
	Tar       Kind = "tar"       // files in a tar
	CacheOnly Kind = "cacheonly" // nothing but the records of its steps
)

// registryType is the type of an Image that is pushed.
const registryType = "registry"

// Spec is one --output.
type Spec struct {
	Kind  Kind
	Dest  string            // file or directory, "-" for standard output, "" for none
	Names []reference.Named // name=
	// Of images that go to a registry or are named in the store.
	Push         bool
	Late         bool   // push-early=false: send nothing while the build goes on
	ByDigest     bool   // push without a name
	Insecure     bool   // the registry may be plain HTTP
	NotStored    bool   // store=false
	Unpack       bool   // lay the layers out as trees
	Canonical    bool   // name@digest beside the name
	Dangling     string // name-prefix@digest as a name
	DanglingOnly bool   // only where there is no other name
	// Of images.
	Packing
	// Of OCI: a directory instead of a tar.
	Directory bool
	Files
}

// Files say how an output of files is laid out.
type Files struct {
	Delete            bool   // remove from the directory what the result does not have
	Split             *bool  // a folder for each platform; nil if there are several
	AttestationPrefix string // of the names of the files with attestations
}

// Packing says how an image is put into words and bytes for others.
type Packing struct {
	Epoch       *time.Time        // source-date-epoch
	Rewrite     *bool             // rewrite-timestamp
	Compression layer.Compression // of the layers that were built; "" for whatever there is, else gzip
	Seekable    bool              // compression=estargz
	Level       *int
	Force       bool  // compress those of the base image too
	OCI         *bool // oci-mediatypes; nil for what the output has by itself
	Annotations annotations
}

// ParseSpec reads an --output as buildx does: fields of CSV that are NAME=VALUE, or a directory alone, or "-".
func ParseSpec(text string) (Spec, error) {
	r := csv.NewReader(strings.NewReader(text))
	fields, err := r.Read()
	if err == nil {
		if _, more := r.Read(); !errors.Is(more, io.EOF) {
			err = errors.New("it has more than one line")
		}
	}
	if err != nil {
		if text == "" {
			err = errors.New("it is empty; name a directory, or say type=… as in type=local,dest=DIRECTORY")
		}
		return Spec{}, fmt.Errorf("%q: %w", text, err)
	}
	if len(fields) == 1 && fields[0] == text && !strings.HasPrefix(text, "type=") {
		if text == "-" {
			return Spec{Kind: Tar, Dest: "-"}, nil
		}
		return Spec{Kind: Local, Dest: text}, nil
	}
	attrs, kind, err := readAttributes(fields)
	if err != nil {
		return Spec{}, fmt.Errorf("%q: %w", text, err)
	}
	s := Spec{Kind: Kind(kind)}
	if err := s.set(kind, attrs); err != nil {
		return s, fmt.Errorf("type=%s: %w", kind, err)
	}
	return s, nil
}

// attribute is one NAME=VALUE.
type attribute struct{ name, value string }

func readAttributes(fields []string) (attrs []attribute, kind string, err error) {
	for _, field := range fields {
		name, value, ok := strings.Cut(field, "=")
		if !ok {
			return nil, "", fmt.Errorf("%q is not NAME=VALUE", field)
		}
		name = strings.TrimSpace(name)
		if !strings.HasPrefix(name, "annotation") { // whose keys tell lower case from upper case
			name = strings.ToLower(name)
		}
		if name == "type" {
			kind = value
			continue
		}
		attrs = append(attrs, attribute{name, value})
	}
	if kind == "" {
		return nil, "", errors.New("it needs a type, as in type=local,dest=DIRECTORY")
	}
	return attrs, kind, nil
}

// set takes the attributes over, and checks what each kind needs.
func (s *Spec) set(kind string, attrs []attribute) error {
	if kind == registryType {
		s.Kind, s.Push = ToImage, true
	}
	known := s.attributes()
	if known == nil {
		return fmt.Errorf("there is no such output%s; it is one of %s", suggest.DidYouMean(kind, Types()), strings.Join(Types(), ", "))
	}
	for _, a := range attrs {
		if note, ok, err := readAnnotation(a); ok && known["compression"] != nil {
			if err != nil {
				return fmt.Errorf("%s: %w", a.name, err)
			}
			s.Annotations = append(s.Annotations, note)
			continue
		}
		set := known[a.name]
		if set == nil {
			return fmt.Errorf("%s is not an attribute of it%s; it takes %s", a.name, suggest.DidYouMean(a.name, names(known)), strings.Join(names(known), ", "))
		}
		if err := set(a.value); err != nil {
			return fmt.Errorf("%s=%s: %w", a.name, a.value, err)
		}
	}
	return s.check()
}

func names(known map[string]setter) []string {
	var all []string
	for name := range known {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

func (s *Spec) check() error {
	switch s.Kind {
	case Local:
		if s.Dest == "" {
			return errors.New("it needs a directory: dest=DIRECTORY")
		}
		if s.Dest == "-" {
			return errors.New("a directory cannot go to standard output; type=tar,dest=- can")
		}
	case OCI, Tar:
		if s.Dest == "" {
			s.Dest = "-"
		}
	}
	if s.Directory && (s.Dest == "" || s.Dest == "-") {
		return errors.New("tar=false needs a directory: dest=DIRECTORY")
	}
	if err := s.Packing.check(); err != nil {
		return err
	}
	if s.Delete {
		if abs, err := filepath.Abs(s.Dest); err != nil || abs == "/" {
			return errors.New("mode=delete would remove all files of this machine; name another directory")
		}
	}
	return nil
}
