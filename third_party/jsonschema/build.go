package jsonschema

import (
	"encoding/json"
	"fmt"
	"math/big"
	"regexp"
	"strings"
)

// builder makes schemas of the parts of one document.
type builder struct {
	root    any
	formats map[string]func(any) error
	made    map[string]*Schema // by reference, so that a schema may refer to itself
}

func (b *builder) schema(doc any) (*Schema, error) {
	switch doc := doc.(type) {
	case bool:
		return &Schema{never: !doc}, nil
	case map[string]any:
		s := &Schema{}
		return s, b.fill(s, doc)
	}
	return nil, fmt.Errorf("a schema is an object or a boolean, not %T", doc)
}

func (b *builder) fill(s *Schema, doc map[string]any) error {
	for key, value := range doc {
		if err := b.keyword(s, key, value); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	return nil
}

func (b *builder) keyword(s *Schema, key string, value any) (err error) {
	switch key {
	case "$schema", "$id", "$defs", "definitions", "title", "description", "default", "deprecated", "examples", "$comment":
	case "$ref":
		text, _ := value.(string)
		s.target, err = b.reference(text)
	case "type":
		s.types, err = stringsOf(value)
	case "required":
		s.required, err = stringsOf(value)
	case "properties":
		s.properties, err = b.schemas(value)
	case "patternProperties":
		err = b.patterns(s, value)
	case "additionalProperties":
		s.additional, err = b.schema(value)
	case "items":
		s.items, err = b.schema(value)
	case "oneOf":
		s.one, err = b.list(value)
	case "anyOf":
		s.any, err = b.list(value)
	case "allOf":
		s.all, err = b.list(value)
	case "enum":
		s.enum, _ = value.([]any)
	case "pattern":
		s.pattern, err = regexp.Compile(fmt.Sprint(value))
	case "format":
		s.format = b.formats[fmt.Sprint(value)] // one that nobody registered says nothing
	case "minimum":
		s.minimum, err = number(value)
	case "maximum":
		s.maximum, err = number(value)
	case "uniqueItems":
		s.unique, _ = value.(bool)
	default:
		return fmt.Errorf("this keyword is not known")
	}
	return err
}

// reference finds what a $ref such as "#/$defs/service" means.
func (b *builder) reference(ref string) (*Schema, error) {
	if s, ok := b.made[ref]; ok {
		return s, nil
	}
	path, ok := strings.CutPrefix(ref, "#/")
	if !ok {
		return nil, fmt.Errorf("%q does not point into the same document", ref)
	}
	doc := b.root
	for part := range strings.SplitSeq(path, "/") {
		object, _ := doc.(map[string]any)
		if doc, ok = object[part]; !ok {
			return nil, fmt.Errorf("%q points to nothing", ref)
		}
	}
	object, ok := doc.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%q points to no schema", ref)
	}
	s := &Schema{}
	b.made[ref] = s
	return s, b.fill(s, object)
}

func (b *builder) schemas(value any) (map[string]*Schema, error) {
	object, _ := value.(map[string]any)
	all := make(map[string]*Schema, len(object))
	for name, doc := range object {
		s, err := b.schema(doc)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all[name] = s
	}
	return all, nil
}

func (b *builder) patterns(s *Schema, value any) error {
	all, err := b.schemas(value)
	if err != nil {
		return err
	}
	for pattern, schema := range all {
		key, err := regexp.Compile(pattern)
		if err != nil {
			return err
		}
		s.patterns = append(s.patterns, patternSchema{key, schema})
	}
	return nil
}

func (b *builder) list(value any) (all []*Schema, err error) {
	docs, _ := value.([]any)
	for _, doc := range docs {
		s, err := b.schema(doc)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

func stringsOf(value any) (all []string, err error) {
	switch value := value.(type) {
	case string:
		return []string{value}, nil
	case []any:
		for _, v := range value {
			text, ok := v.(string)
			if !ok {
				return nil, fmt.Errorf("%v is no string", v)
			}
			all = append(all, text)
		}
		return all, nil
	}
	return nil, fmt.Errorf("%v is neither a string nor a list", value)
}

// number reads a number of a document.
func number(value any) (*big.Rat, error) {
	var text string
	switch value := value.(type) {
	case json.Number:
		text = value.String()
	case float64:
		return new(big.Rat).SetFloat64(value), nil
	default:
		return nil, fmt.Errorf("%v is no number", value)
	}
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		return nil, fmt.Errorf("%q is no number", text)
	}
	return r, nil
}
