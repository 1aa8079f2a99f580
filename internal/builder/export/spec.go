package export

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/distribution/reference"
	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/human/suggest"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/transfer/registry"
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
	// Of files.
	Delete bool  // remove from the directory what the result does not have
	Split  *bool // a folder for each platform; nil if there are several
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

// CheckDelete refuses mode=delete for a directory that does not lie below the working directory, as a mistyped dest would
// take all that is there. Links count as where they lead. buildx does so too, unless it is permitted.
func CheckDelete(specs []Spec) error {
	for _, s := range specs {
		if !s.Delete {
			continue
		}
		if below, err := isBelowHere(s.Dest); err != nil || !below {
			return errors.Join(fmt.Errorf("type=local: mode=delete removes all other files of %s, which is not below the working directory: name a directory below it, or permit it with --allow=%s",
				s.Dest, dockerfile.AllowLocalDelete), err)
		}
	}
	return nil
}

// isBelowHere says whether a path, of which the last folders need not be there, lies below the working directory.
func isBelowHere(path string) (bool, error) {
	here, err := os.Getwd()
	if err == nil {
		here, err = filepath.EvalSymlinks(here)
	}
	if err != nil {
		return false, err
	}
	path, err = filepath.Abs(path)
	if err != nil {
		return false, err
	}
	missing := ""
	for {
		real, err := filepath.EvalSymlinks(path)
		if err == nil {
			path = filepath.Join(real, missing)
			break
		}
		if _, lerr := os.Lstat(path); lerr == nil || !errors.Is(err, fs.ErrNotExist) {
			return false, err // a link that leads to nothing, for instance
		}
		missing = filepath.Join(filepath.Base(path), missing)
		path = filepath.Dir(path)
	}
	rel, err := filepath.Rel(here, path)
	return rel != "." && filepath.IsLocal(rel), err
}

// setter takes an attribute's value over.
type setter func(value string) error

// attributes are those that an output of this kind takes; nil if there is no such kind.
func (s *Spec) attributes() map[string]setter {
	all := map[string]setter{}
	switch s.Kind {
	case CacheOnly:
		return all
	case Local, Tar:
		all["source-date-epoch"] = s.epoch
		all["platform-split"] = pointTo(&s.Split)
		all["attestation-prefix"] = ignore
		if s.Kind == Local {
			all["mode"] = s.mode
		}
	case OCI, Docker:
		s.imageAttributes(all)
		all["tar"] = func(v string) error {
			tar := true
			err := boolean(&tar)(v)
			s.Directory = !tar
			return err
		}
	case ToImage:
		s.imageAttributes(all)
		s.storeAttributes(all)
		return all
	default:
		return nil
	}
	all["dest"] = text(&s.Dest)
	return all
}

// Types are what type= of an --output can be.
func Types() []string {
	return []string{string(ToImage), registryType, string(Docker), string(OCI), string(Local), string(Tar), string(CacheOnly)}
}

// Attributes are the names of the attributes that an output of a type takes, sorted; nil if there is no such type.
func Attributes(kind string) []string {
	if kind == registryType {
		kind = string(ToImage)
	}
	s := Spec{Kind: Kind(kind)}
	return names(s.attributes())
}

func (s *Spec) imageAttributes(all map[string]setter) {
	all["name"] = s.names
	all["source-date-epoch"] = s.epoch
	all["rewrite-timestamp"] = pointTo(&s.Rewrite)
	all["compression"] = s.compression
	all["compression-level"] = s.level
	all["force-compression"] = boolean(&s.Force)
	all["oci-mediatypes"] = pointTo(&s.OCI)
	// Attestations are not made, so it does not matter which form they would have; build information is what
	// BuildKit had before it had attestations.
	for _, name := range []string{"oci-artifact", "attestation-inline", "buildinfo", "buildinfo-attrs"} {
		all[name] = ignore
	}
	all["prefer-nondist-layers"] = func(v string) error {
		var prefer bool
		if err := boolean(&prefer)(v); err != nil || !prefer {
			return err
		}
		return errors.New("layers that must not be distributed are not supported; leave it out")
	}
}

func (s *Spec) storeAttributes(all map[string]setter) {
	for name, to := range map[string]*bool{
		"push": &s.Push, "push-by-digest": &s.ByDigest, "registry.insecure": &s.Insecure, "unpack": &s.Unpack,
		"name-canonical": &s.Canonical, "danging-name-empty-only": &s.DanglingOnly,
	} {
		all[name] = boolean(to)
	}
	all["dangling-name-prefix"] = text(&s.Dangling)
	all["store"] = func(v string) error {
		stored := true
		err := boolean(&stored)(v)
		s.NotStored = !stored
		return err
	}
}

func (s *Spec) names(v string) error {
	for _, name := range strings.Split(v, ",") {
		if name == "" {
			continue
		}
		ref, err := registry.ParseName(name)
		if err != nil {
			return err
		}
		s.Names = append(s.Names, ref)
	}
	return nil
}

func (p *Packing) compression(v string) error {
	switch v {
	case "uncompressed":
		p.Compression = layer.None
	case "gzip", "zstd":
		p.Compression = layer.Compression(v)
	case "estargz":
		p.Compression, p.Seekable = layer.Gzip, true
	default:
		return errors.New("it is uncompressed, gzip, estargz or zstd")
	}
	return nil
}

func (p *Packing) level(v string) error {
	n, err := strconv.Atoi(v)
	if err != nil {
		return errors.New("it is a number, 0 to 9 for gzip and estargz, 0 to 22 for zstd")
	}
	p.Level = &n
	return nil
}

// check says what does not go together.
func (p *Packing) check() error {
	most := 9
	if p.Compression == layer.Zstd {
		most = 22
	}
	docker := p.OCI != nil && !*p.OCI
	switch {
	case p.Level != nil && p.Compression == layer.None:
		return errors.New("compression-level goes with gzip, estargz or zstd")
	case p.Level != nil && (*p.Level < 0 || *p.Level > most):
		return fmt.Errorf("compression-level=%d: it is 0 to %d", *p.Level, most)
	case docker && p.Seekable:
		return errors.New("compression=estargz needs OCI's media types, which oci-mediatypes=false takes away")
	case docker && len(p.Annotations) > 0:
		return errors.New("annotations need OCI's media types, which oci-mediatypes=false takes away")
	}
	if p.Level != nil && p.Compression == "" {
		p.Compression = layer.Gzip
	}
	return nil
}

func (s *Spec) mode(v string) error {
	switch v {
	case "copy", "delete":
		s.Delete = v == "delete"
		return nil
	}
	return errors.New("it is copy, which leaves other files of the directory alone, or delete, which removes them")
}

func (s *Spec) epoch(v string) (err error) {
	s.Epoch, err = ParseEpoch(v)
	return err
}

// ParseEpoch reads a SOURCE_DATE_EPOCH: seconds since 1970. nil is the empty one, which is none.
func ParseEpoch(v string) (*time.Time, error) {
	if v == "" {
		return nil, nil
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		return nil, errors.New("it is a number of seconds since 1970, as git log -1 --pretty=%ct prints it")
	}
	t := time.Unix(n, 0).UTC()
	if t.Year() > 9999 || t.Year() < 0 { // what JSON can hold (RFC 3339)
		return nil, errors.New("no year between 0 and 9999 has that second")
	}
	return &t, nil
}

func text(to *string) setter {
	return func(v string) error {
		*to = v
		return nil
	}
}

func boolean(to *bool) setter {
	return func(v string) error {
		b, err := strconv.ParseBool(v)
		if v == "" {
			b, err = true, nil
		}
		if err != nil {
			return errors.New("it is true or false")
		}
		*to = b
		return nil
	}
}

func pointTo(to **bool) setter {
	return func(v string) error {
		var b bool
		err := boolean(&b)(v)
		*to = &b
		return err
	}
}

func ignore(string) error { return nil }

// epochOr is the output's own SOURCE_DATE_EPOCH, or else the build's.
func (p *Packing) epochOr(build *time.Time) *time.Time {
	if p.Epoch != nil {
		return p.Epoch
	}
	return build
}

// Add adds what --push and --load ask for, as buildx does: --push has the image outputs pushed, or adds one; --load
// adds the image to the store unless it goes there already.
func Add(specs []Spec, push, load bool) []Spec {
	if push {
		pushed := false
		for i := range specs {
			if specs[i].Kind == ToImage {
				specs[i].Push, pushed = true, true
			}
		}
		if !pushed {
			specs = append(specs, Spec{Kind: ToImage, Push: true})
		}
	}
	stored := func(s Spec) bool { return s.Kind == ToImage && !s.NotStored || s.Kind == Docker && s.Dest == "" }
	if load && !slices.ContainsFunc(specs, stored) {
		specs = append(specs, Spec{Kind: Docker})
	}
	return specs
}

// Check says what is wrong with outputs as a whole, before anything is built.
func Check(specs []Spec, tags []reference.Named) error {
	stdout := 0
	for _, s := range specs {
		if s.Dest == "-" {
			stdout++
		}
		if s.ByDigest && !s.Push {
			return errors.New("push-by-digest goes with push=true")
		}
		if s.Push && len(tags) == 0 && len(s.Names) == 0 {
			return errors.New("what is pushed needs a name: add --tag NAME, or name=NAME to the output")
		}
	}
	if stdout > 1 {
		return errors.New("several outputs go to standard output: name a file for all but one, dest=FILE")
	}
	return nil
}

// Prepare makes the directories that outputs go to, and says what is wrong with a place before anything is built.
func Prepare(specs []Spec) error {
	for _, s := range specs {
		if err := s.prepare(); err != nil {
			return err
		}
	}
	return nil
}

func (s *Spec) prepare() error {
	if s.Dest == "" || s.Dest == "-" {
		return nil
	}
	isDir := s.Kind == Local || s.Directory
	dir := s.Dest
	if !isDir {
		dir = filepath.Dir(dir)
	}
	st, err := os.Stat(s.Dest)
	switch {
	case err == nil && !isDir && st.IsDir():
		return fmt.Errorf("--output type=%s,dest=%s: it is a directory; name a file in it", s.Kind, s.Dest)
	case err == nil && isDir && !st.IsDir():
		return fmt.Errorf("--output type=%s,dest=%s: it is no directory", s.Kind, s.Dest)
	case err == nil && !isDir && !st.Mode().IsRegular():
		return nil // a device or pipe
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("--output type=%s: making its directory: %w", s.Kind, err)
	}
	if err := unix.Access(dir, unix.W_OK); err != nil {
		return fmt.Errorf("--output type=%s: %s cannot be written to: %w", s.Kind, dir, err)
	}
	return nil
}

// UsesStdout says that an output goes to standard output, so that nothing else may.
func UsesStdout(specs []Spec) bool {
	return slices.ContainsFunc(specs, func(s Spec) bool { return s.Dest == "-" })
}
