package places

import (
	"encoding/csv"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/strata-build/strata/internal/human/suggest"
)

// Spec is what a --cache-from or --cache-to says.
type Spec struct {
	Type string            // of the Kind
	Ref  string            // where the cache is: a name, or a directory; the type of one that needs none
	Attr map[string]string // all that it says
}

// Public is the spec of a kind as others may see it: without credentials, and in one order.
func (s Spec) Public(k Kind) string {
	fields := []string{"type=" + s.Type}
	for _, name := range slices.Sorted(maps.Keys(s.Attr)) {
		secret := slices.ContainsFunc(k.To, func(a Attribute) bool { return a.Name == name && a.Secret })
		if !secret {
			fields = append(fields, name+"="+s.Attr[name])
		}
	}
	var b strings.Builder
	w := csv.NewWriter(&b)
	_ = w.Write(fields) // a strings.Builder takes everything
	w.Flush()
	return strings.TrimSuffix(b.String(), "\n")
}

// Max says that the cache has the steps of all stages, not only those of the image.
func (s Spec) Max() bool { return s.Attr[modeName] == "max" }

// IgnoreError says that a cache which cannot be written is a warning.
func (s Spec) IgnoreError() bool { return s.On(ignoreErrorName) }

// Leases says that machines that build at the same time share the place: what each has run, the others find there at once.
// Where nothing is said they do so if it has the steps of all stages.
func (s Spec) Leases() bool {
	if _, said := s.Attr[leaseName]; said {
		return s.On(leaseName)
	}
	return s.Max()
}

// On says that an attribute is true.
func (s Spec) On(name string) bool {
	on, err := strconv.ParseBool(s.Attr[name])
	return err == nil && on
}

// Table is the kinds of places that there are.
type Table struct {
	Kinds []Kind
	// From and To are the types of a --cache-from and of a --cache-to that are a name alone.
	From, To string
}

// Kind returns the kind of a spec, which ParseFrom or ParseTo has read.
func (t *Table) Kind(s Spec) Kind {
	i := slices.IndexFunc(t.Kinds, func(k Kind) bool { return k.Type == s.Type })
	return t.Kinds[i]
}

// ParseFrom reads a --cache-from, in Docker's short form, an image's name, or in buildx's long one:
// type=registry,ref=NAME.
func (t *Table) ParseFrom(text string) (Spec, error) {
	s, err := parse(text)
	if err != nil {
		return s, err
	}
	if s.Type == "" {
		s = t.named(t.From, text, fromAttributes)
	}
	for _, k := range t.Kinds {
		if k.Type == s.Type && k.NotFrom != "" {
			return s, fmt.Errorf("type=%s: %s", s.Type, k.NotFrom)
		}
	}
	return t.checked(s, fromAttributes)
}

// ParseTo reads a --cache-to: type=registry,ref=NAME,mode=max, or a name alone, which may be that of a type that needs no
// more.
func (t *Table) ParseTo(text string) (Spec, error) {
	s, err := parse(text)
	if err != nil {
		return s, err
	}
	if s.Type == "" {
		s = t.named(t.To, text, toAttributes)
		for _, k := range t.Kinds {
			if k.Type == text && k.To != nil && where(k.To) == nil {
				s = Spec{Type: text}
			}
		}
	}
	return t.checked(s, toAttributes)
}

// parse reads type and attributes. Of a name alone there is no type.
func parse(text string) (Spec, error) {
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		return Spec{}, fmt.Errorf("%s: %w", text, err)
	}
	if len(fields) == 1 && !strings.Contains(text, "=") {
		return Spec{}, nil
	}
	s := Spec{Attr: map[string]string{}}
	last := ""
	for _, field := range fields {
		name, value, ok := strings.Cut(field, "=")
		if !ok && last == mountsName {
			return s, fmt.Errorf("%s: %q is not NAME=VALUE; several IDs of %s= have ; between them", text, field, mountsName)
		}
		if !ok {
			return s, fmt.Errorf("%s: %q is not NAME=VALUE", text, field)
		}
		last = strings.ToLower(name)
		if name = last; name == "type" {
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

// attributes are those of a kind in one of the two directions.
type attributes func(Kind) []Attribute

func fromAttributes(k Kind) []Attribute { return k.From }
func toAttributes(k Kind) []Attribute   { return k.To }

// named is the spec of a name alone.
func (t *Table) named(kind, name string, of attributes) Spec {
	s := Spec{Type: kind, Attr: map[string]string{}}
	s.Attr[where(of(t.Kind(s)))[0].Name] = name
	return s
}

// checked checks a spec, and says where it is.
func (t *Table) checked(s Spec, of attributes) (Spec, error) {
	for _, k := range t.Kinds {
		if k.Type == s.Type && of(k) != nil {
			err := s.check(of(k))
			if s.Ref == "" && k.Open != nil { // there is one of it
				s.Ref = k.Type
			}
			return s, err
		}
	}
	var known, types []string
	for _, k := range t.Kinds {
		if of(k) == nil || k.Type == t.From {
			continue
		}
		types = append(types, k.Type)
		usage := "type=" + k.Type
		for _, a := range where(of(k)) {
			usage += "," + a.Name + "=" + a.Value
		}
		known = append(known, usage)
	}
	return s, fmt.Errorf("type=%s is not supported%s; take %s, or a name alone", s.Type, suggest.DidYouMean(s.Type, types), strings.Join(known, ", "))
}

// where are the attributes that have to be there.
func where(all []Attribute) []Attribute {
	var found []Attribute
	for _, a := range all {
		if a.Value != "" {
			found = append(found, a)
		}
	}
	return found
}

// check checks the attributes, and fills in Ref.
func (s *Spec) check(known []Attribute) error {
	var names []string
	for _, a := range known {
		names = append(names, a.Name)
	}
	for name := range s.Attr {
		if !slices.Contains(names, name) {
			return fmt.Errorf("type=%s: %s is not supported%s; it takes %s", s.Type, name, suggest.DidYouMean(name, names), strings.Join(names, ", "))
		}
	}
	var refs []string
	for _, a := range known {
		value, given := s.Attr[a.Name]
		if a.Value != "" {
			if value == "" {
				return fmt.Errorf("type=%s needs %s=%s", s.Type, a.Name, a.Value)
			}
			refs = append(refs, value)
			given = true
		}
		if !given || a.Check == nil {
			continue
		}
		if err := a.Check(value); err != nil && a.Value != "" {
			return err // it names the value
		} else if err != nil {
			return fmt.Errorf("type=%s: %s=%s: %w", s.Type, a.Name, value, err)
		}
	}
	s.Ref = strings.Join(refs, "/")
	return nil
}
