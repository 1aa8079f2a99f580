// Package jsonschema validates JSON documents by the part of JSON Schema that the Compose specification's schema uses. It
// stands in for github.com/santhosh-tekuri/jsonschema/v6, whose work at the start of the program it does not do (README.md).
package jsonschema

import (
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"regexp"
	"strings"

	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// Format is a named check of `format`.
type Format struct {
	Name     string
	Validate func(value any) error
}

// ErrorKind says what is wrong with a value; its types are in package kind.
type ErrorKind interface {
	LocalizedString(*message.Printer) string
}

// ValidationError says where a document does not fit its schema.
type ValidationError struct {
	InstanceLocation []string // the keys and indexes that lead to the value
	ErrorKind        ErrorKind
	Causes           []*ValidationError
}

// Error implements error.
func (e *ValidationError) Error() string {
	text := strings.Join(e.InstanceLocation, ".") + " " + e.ErrorKind.LocalizedString(message.NewPrinter(language.English))
	for _, c := range e.Causes {
		text += "\n" + c.Error()
	}
	return text
}

// UnmarshalJSON reads a document, whose numbers stay json.Number.
func UnmarshalJSON(r io.Reader) (any, error) {
	d := json.NewDecoder(r)
	d.UseNumber()
	var doc any
	err := d.Decode(&doc)
	return doc, err
}

// Compiler makes schemas of documents.
type Compiler struct {
	documents map[string]any
	formats   map[string]func(any) error
}

// NewCompiler returns a compiler without documents.
func NewCompiler() *Compiler {
	return &Compiler{documents: map[string]any{}, formats: map[string]func(any) error{}}
}

// AddResource adds a document, as UnmarshalJSON gives it, under a name.
func (c *Compiler) AddResource(name string, doc any) error {
	c.documents[name] = doc
	return nil
}

// RegisterFormat adds a format.
func (c *Compiler) RegisterFormat(f *Format) { c.formats[f.Name] = f.Validate }

// Compile makes the schema of a document. A keyword or reference that this package does not know is an error.
func (c *Compiler) Compile(name string) (*Schema, error) {
	doc, ok := c.documents[name]
	if !ok {
		return nil, fmt.Errorf("no schema %q was added", name)
	}
	b := &builder{root: doc, formats: c.formats, made: map[string]*Schema{}}
	return b.schema(doc)
}

// Schema is what a value has to fit.
type Schema struct {
	never            bool // the schema false
	types            []string
	properties       map[string]*Schema
	patterns         []patternSchema
	additional       *Schema // nil allows all
	required         []string
	items            *Schema
	one, any, all    []*Schema
	enum             []any
	pattern          *regexp.Regexp
	format           func(any) error
	minimum, maximum *big.Rat
	unique           bool
	target           *Schema // of $ref
}

type patternSchema struct {
	key    *regexp.Regexp
	schema *Schema
}

// Validate returns nil or a *ValidationError. doc is as encoding/json or UnmarshalJSON gives it.
func (s *Schema) Validate(doc any) error {
	if err := s.check(doc, nil); err != nil {
		return err
	}
	return nil
}
