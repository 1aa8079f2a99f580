package jsonschema

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"

	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// check returns what is wrong with a value at a place of the document, nil for nothing.
func (s *Schema) check(value any, at []string) *ValidationError {
	wrong := s.causes(value, at)
	switch len(wrong) {
	case 0:
		return nil
	case 1:
		return wrong[0]
	}
	return fail(at, &kind.Schema{}, wrong...)
}

func fail(at []string, k ErrorKind, causes ...*ValidationError) *ValidationError {
	return &ValidationError{InstanceLocation: slices.Clone(at), ErrorKind: k, Causes: causes}
}

func (s *Schema) causes(value any, at []string) (wrong []*ValidationError) {
	add := func(e *ValidationError) {
		if e != nil {
			wrong = append(wrong, e)
		}
	}
	if s.never {
		return []*ValidationError{fail(at, &kind.Other{Keyword: "the schema", Want: "is not allowed"})}
	}
	if s.target != nil {
		add(s.target.check(value, at))
	}
	if len(s.types) > 0 && !slices.ContainsFunc(s.types, func(t string) bool { return isOf(value, t) }) {
		return append(wrong, fail(at, &kind.Type{Got: typeOf(value), Want: s.types}))
	}
	add(s.combined(value, at))
	if len(s.enum) > 0 && !slices.ContainsFunc(s.enum, func(e any) bool { return reflect.DeepEqual(e, value) }) {
		add(fail(at, &kind.Other{Keyword: "enum", Want: fmt.Sprintf("must be one of %v", s.enum)}))
	}
	if s.format != nil {
		if err := s.format(value); err != nil {
			add(fail(at, &kind.Other{Keyword: "format", Want: err.Error()}))
		}
	}
	switch value := value.(type) {
	case map[string]any:
		wrong = append(wrong, s.object(value, at)...)
	case []any:
		wrong = append(wrong, s.array(value, at)...)
	case string:
		if s.pattern != nil && !s.pattern.MatchString(value) {
			add(fail(at, &kind.Other{Keyword: "pattern", Want: "does not match pattern " + s.pattern.String()}))
		}
	case float64, json.Number:
		add(s.bounds(value, at))
	}
	return wrong
}

// combined is what oneOf, anyOf and allOf say.
func (s *Schema) combined(value any, at []string) *ValidationError {
	for _, all := range s.all {
		if err := all.check(value, at); err != nil {
			return err
		}
	}
	fits := func(of []*Schema) (n int, wrong []*ValidationError) {
		for _, one := range of {
			if err := one.check(value, at); err != nil {
				wrong = append(wrong, err)
			} else {
				n++
			}
		}
		return n, wrong
	}
	if n, wrong := fits(s.any); len(s.any) > 0 && n == 0 {
		return fail(at, &kind.Other{Keyword: "anyOf"}, wrong...)
	}
	if n, wrong := fits(s.one); len(s.one) > 0 && n != 1 {
		return fail(at, &kind.Other{Keyword: "oneOf"}, wrong...)
	}
	return nil
}

func (s *Schema) object(value map[string]any, at []string) (wrong []*ValidationError) {
	for _, name := range s.required {
		if _, ok := value[name]; !ok {
			wrong = append(wrong, fail(at, &kind.Other{Keyword: "required", Want: fmt.Sprintf("missing property '%s'", name)}))
		}
	}
	var additional []string
	for _, name := range slices.Sorted(maps.Keys(value)) {
		below := append(slices.Clone(at), name)
		of, known := s.properties[name]
		if known {
			if err := of.check(value[name], below); err != nil {
				wrong = append(wrong, err)
			}
		}
		for _, p := range s.patterns {
			if !p.key.MatchString(name) {
				continue
			}
			known = true
			if err := p.schema.check(value[name], below); err != nil {
				wrong = append(wrong, err)
			}
		}
		switch {
		case known || s.additional == nil:
		case s.additional.never:
			additional = append(additional, name)
		default:
			if err := s.additional.check(value[name], below); err != nil {
				wrong = append(wrong, err)
			}
		}
	}
	if len(additional) > 0 {
		wrong = append(wrong, fail(at, &kind.AdditionalProperties{Properties: additional}))
	}
	return wrong
}

func (s *Schema) array(value []any, at []string) (wrong []*ValidationError) {
	for i, v := range value {
		if s.items != nil {
			if err := s.items.check(v, append(slices.Clone(at), strconv.Itoa(i))); err != nil {
				wrong = append(wrong, err)
			}
		}
		if s.unique && slices.ContainsFunc(value[:i], func(other any) bool { return reflect.DeepEqual(v, other) }) {
			wrong = append(wrong, fail(at, &kind.Other{Keyword: "uniqueItems", Want: fmt.Sprintf("items must be unique: %v is there twice", v)}))
		}
	}
	return wrong
}

func (s *Schema) bounds(value any, at []string) *ValidationError {
	n, err := number(value)
	switch {
	case err != nil:
		return fail(at, &kind.Other{Keyword: "type", Want: err.Error()})
	case s.minimum != nil && n.Cmp(s.minimum) < 0:
		return fail(at, &kind.Minimum{Got: n, Want: s.minimum})
	case s.maximum != nil && n.Cmp(s.maximum) > 0:
		return fail(at, &kind.Maximum{Got: n, Want: s.maximum})
	}
	return nil
}

func isOf(value any, want string) bool {
	got := typeOf(value)
	if got == "number" && want == "integer" {
		n, err := number(value)
		return err == nil && n.IsInt()
	}
	return got == want
}

func typeOf(value any) string {
	switch value.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case float64, json.Number:
		return "number"
	case []any:
		return "array"
	case map[string]any:
		return "object"
	}
	return fmt.Sprintf("%T", value)
}
