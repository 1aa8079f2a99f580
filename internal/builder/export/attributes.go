package export

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/transfer/registry"
)

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
		all["attestation-prefix"] = s.attestationPrefix
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
	// Attestations have one form, that of BuildKit's default; build information is what BuildKit had before it had
	// attestations.
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
	all["push-early"] = func(v string) error {
		early := true
		err := boolean(&early)(v)
		s.Late = !early
		return err
	}
	all["store"] = func(v string) error {
		stored := true
		err := boolean(&stored)(v)
		s.NotStored = !stored
		return err
	}
}

func (s *Spec) attestationPrefix(v string) error {
	if strings.Contains(v, "/") {
		return errors.New("the files of attestations are in the result's first folder; leave out the slash")
	}
	s.AttestationPrefix = v
	return nil
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
