// Package kind says what a value can have wrong: a type for each keyword of a schema.
package kind

import (
	"fmt"
	"math/big"
	"strings"

	"golang.org/x/text/message"
)

// Schema is the whole document's error, whose causes say what is wrong.
type Schema struct{}

// LocalizedString says it in words.
func (*Schema) LocalizedString(*message.Printer) string { return "does not fit the schema" }

// Type is a value of another type than those of Want.
type Type struct {
	Got  string
	Want []string
}

// LocalizedString says it in words.
func (k *Type) LocalizedString(*message.Printer) string {
	return fmt.Sprintf("is a %s and must be a %s", k.Got, strings.Join(k.Want, " or "))
}

// Minimum is a number below Want.
type Minimum struct{ Got, Want *big.Rat }

// LocalizedString says it in words.
func (k *Minimum) LocalizedString(*message.Printer) string {
	return "must be at least " + k.Want.RatString()
}

// Maximum is a number above Want.
type Maximum struct{ Got, Want *big.Rat }

// LocalizedString says it in words.
func (k *Maximum) LocalizedString(*message.Printer) string {
	return "must be at most " + k.Want.RatString()
}

// AdditionalProperties are keys that the schema does not have.
type AdditionalProperties struct{ Properties []string }

// LocalizedString says it in words.
func (k *AdditionalProperties) LocalizedString(*message.Printer) string {
	return "additional properties '" + strings.Join(k.Properties, "', '") + "' not allowed"
}

// Other is any other keyword that a value does not fit, and what it wants.
type Other struct{ Keyword, Want string }

// LocalizedString says it in words.
func (k *Other) LocalizedString(*message.Printer) string {
	if k.Want == "" {
		return "does not fit " + k.Keyword
	}
	return k.Want
}
