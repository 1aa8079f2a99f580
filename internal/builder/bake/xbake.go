package bake

import (
	"fmt"
	"strconv"
	"strings"
)

// AttestText is an --attest of what --sbom and --provenance take: a boolean, or attributes.
func AttestText(kind, value string) string {
	if on, err := strconv.ParseBool(value); err == nil {
		return fmt.Sprintf("type=%s,disabled=%t", kind, !on)
	}
	return "type=" + kind + "," + value
}

// composeExtension lays x-bake over the target of a service: attributes of bake that Compose has no key for
// (docker docs, build/bake/compose-file).
func (t *Target) composeExtension(extension any) error {
	attributes, ok := extension.(map[string]any)
	if !ok {
		return nil
	}
	over := &Target{}
	for name, value := range attributes {
		if err := over.extend(name, value); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	over.Tags = unique(append(t.Tags, over.Tags...))
	over.Platforms = unique(append(t.Platforms, over.Platforms...))
	over.CacheTo = withoutEqual(append(t.CacheTo, over.CacheTo...))
	for name := range t.Contexts {
		delete(over.Contexts, name) // those of the service count
	}
	t.Merge(over)
	return nil
}

func (t *Target) extend(name string, value any) error {
	switch name {
	case "pull", "no-cache":
		on, ok := value.(bool)
		if !ok {
			return fmt.Errorf("it is true or false")
		}
		t.setFlag(name, on)
		return nil
	case "contexts":
		contexts, ok := value.(map[string]any)
		if !ok {
			return fmt.Errorf("it is a mapping of names to contexts")
		}
		for key, context := range contexts {
			put(&t.Contexts, key, composeContext(fmt.Sprint(context)))
		}
		return nil
	}
	values, err := textsOf(value)
	if err != nil {
		return err
	}
	attribute := map[string]string{"platforms": "platform", "secret": "secrets"}[name]
	switch name {
	case "tags", "cache-from", "cache-to", "ssh", "output", "no-cache-filter":
		attribute = name
	}
	if attribute == "" {
		return nil // as buildx does, which may know more
	}
	return t.set(&override{attribute: attribute, values: values})
}

// textsOf is a list of texts, or the words of one.
func textsOf(value any) (texts []string, err error) {
	switch value := value.(type) {
	case nil:
		return nil, nil
	case string:
		return strings.Fields(value), nil
	case []any:
		for _, v := range value {
			texts = append(texts, fmt.Sprint(v))
		}
		return texts, nil
	}
	return nil, fmt.Errorf("it is a text or a list of texts")
}
