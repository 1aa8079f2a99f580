package bake

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tonistiigi/go-csvvalue"
)

// Entry is one of cache-from, cache-to, output and policy: its attributes, "type" among them.
type Entry map[string]string

// Caches, Outputs and Policies are entries, which a file writes as texts, "type=local,dest=out", or as objects.
type (
	Caches   []Entry
	Outputs  []Entry
	Policies []Entry
)

// Attest is an attestation: its attributes, of which disabled is a boolean.
type Attest map[string]string

// Attests are attestations, one of each type.
type Attests []Attest

func (a Attest) id() string { return a["type"] }

// Text is the entry as a flag of `build` has it.
func (e Entry) Text() string {
	if ref, ok := e["ref"]; ok && len(e) == 2 && e["type"] == "registry" {
		return ref
	}
	return attributesText(e)
}

// Text is the attestation as --attest has it.
func (a Attest) Text() string { return attributesText(a) }

func attributesText(attrs map[string]string) string {
	names := slices.Sorted(maps.Keys(attrs))
	slices.SortStableFunc(names, func(a, b string) int { return first(a) - first(b) })
	var fields []string
	for _, name := range names {
		fields = append(fields, name+"="+attrs[name])
	}
	var text strings.Builder
	w := csv.NewWriter(&text)
	_ = w.Write(fields) // into memory
	w.Flush()
	return strings.TrimSuffix(text.String(), "\n")
}

// first sorts the type before the other attributes.
func first(name string) int {
	if name == "type" {
		return 0
	}
	return 1
}

// MarshalJSON writes disabled as a boolean.
func (a Attest) MarshalJSON() ([]byte, error) {
	out := map[string]any{}
	for name, value := range a {
		out[name] = value
	}
	if on, err := strconv.ParseBool(a["disabled"]); err == nil {
		out["disabled"] = on
		if !on {
			delete(out, "disabled")
		}
	}
	return json.Marshal(out)
}

// fieldsOf reads NAME=VALUE,NAME=VALUE.
func fieldsOf(text string) (map[string]string, error) {
	fields, err := csvvalue.Fields(text, nil)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", text, err)
	}
	attrs := map[string]string{}
	for _, field := range fields {
		name, value, ok := strings.Cut(field, "=")
		if !ok {
			return nil, fmt.Errorf("%q: %s is not NAME=VALUE", text, field)
		}
		attrs[strings.TrimSpace(strings.ToLower(name))] = value
	}
	return attrs, nil
}

// parseCache reads what a text of cache-from or cache-to says: attributes, or names of images.
func parseCache(text string) (Caches, error) {
	if strings.Contains(text, "=") {
		attrs, err := fieldsOf(text)
		if err != nil {
			return nil, err
		}
		return Caches{attrs}, typed(attrs, "type=registry,ref=NAME")
	}
	refs, err := csvvalue.Fields(text, nil)
	var caches Caches
	for _, ref := range refs {
		caches = append(caches, Entry{"type": "registry", "ref": ref})
	}
	return caches, err
}

// parseOutput reads a text of output, which may be a directory or -.
func parseOutput(text string) (Outputs, error) {
	fields, err := csvvalue.Fields(text, nil)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", text, err)
	}
	if len(fields) == 1 && fields[0] == text && !strings.HasPrefix(text, "type=") {
		kind := "local"
		if text == "-" {
			kind = "tar"
		}
		return Outputs{{"type": kind, "dest": text}}, nil
	}
	attrs, err := fieldsOf(text)
	if err != nil {
		return nil, err
	}
	return Outputs{attrs}, typed(attrs, "type=docker, a directory or -")
}

func parseAttest(text string) (Attests, error) {
	attrs, err := fieldsOf(text)
	if err != nil {
		return nil, err
	}
	return Attests{attrs}, checkAttest(attrs)
}

func checkAttest(attrs map[string]string) error {
	if err := typed(attrs, "type=provenance or type=sbom"); err != nil {
		return err
	}
	if text, ok := attrs["disabled"]; ok {
		if _, err := strconv.ParseBool(text); err != nil {
			return fmt.Errorf("disabled=%s: it is true or false", text)
		}
	}
	return nil
}

func parsePolicy(text string) (Policies, error) {
	attrs, err := fieldsOf(text)
	return Policies{attrs}, err
}

func typed(attrs map[string]string, example string) error {
	if attrs["type"] == "" {
		return errors.New("the entry " + strconv.Quote(attributesText(attrs)) + " has no type; write " + example)
	}
	return nil
}

// withoutEqual drops entries that are there twice. Of equal ones the first stays, and the list's last entry takes
// the place of the other, as buildx orders them.
func withoutEqual[E ~map[string]string, L ~[]E](list L) L {
	if len(list) == 0 {
		return nil
	}
	list = slices.Clone(list)
	for i := len(list) - 1; i >= 0; i-- {
		same := slices.IndexFunc(list[i+1:], func(other E) bool { return maps.Equal(list[i], other) })
		if same < 0 {
			continue
		}
		last := len(list) - 1
		list[i+1+same] = list[last]
		list = list[:last]
	}
	return list
}

// lastOf keeps one entry of each ID: the last, in the place of the first.
func lastOf[E any, L ~[]E](list L, id func(E) string) L {
	var kept L
	at := map[string]int{}
	for _, e := range list {
		if i, ok := at[id(e)]; ok {
			kept[i] = e
			continue
		}
		at[id(e)] = len(kept)
		kept = append(kept, e)
	}
	return kept
}
