package equal

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"
)

// unexported leaves out what two builders do not have in common.
var unexported = cmp.FilterPath(func(p cmp.Path) bool {
	field, ok := p.Last().(cmp.StructField)
	return ok && (field.Name()[0] >= 'a' || field.Name() == "RootFS")
}, cmp.Ignore())

// compareConfig compares a config with lines of what is expected in it:
//
//	Env: ["PATH=/bin"]     a field of its "config", null if there is none
//	author: "me"           a field beside it, which begins with a small letter
//	history: COPY a / # b  the text of a history row; those given are all that come after the base image's
//
// "" says that all are as expected.
func compareConfig(expected string, got, base *image) string {
	fields := map[string]json.RawMessage{}
	var inner map[string]json.RawMessage
	if err := json.Unmarshal(got.rawConfig, &fields); err != nil {
		return err.Error()
	}
	if err := json.Unmarshal(fields["config"], &inner); err != nil {
		return err.Error()
	}
	for name, value := range inner {
		if name[0] < 'a' {
			fields[name] = value
		}
	}
	var differences, history []string
	for line := range strings.Lines(expected) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if name == "history" {
			history = append(history, value)
		} else if ok {
			differences = append(differences, compareJSON(name, value, fields[name])...)
		}
	}
	if len(history) > 0 {
		if diff := cmp.Diff(history, got.history[len(base.history):]); diff != "" {
			differences = append(differences, "history (-expected +strata):\n"+diff)
		}
	}
	return strings.Join(differences, "\n")
}

func compareJSON(name, expected string, got json.RawMessage) []string {
	var want, have any
	if err := json.Unmarshal([]byte(expected), &want); err != nil {
		return []string{fmt.Sprintf("%s: %s: %v", name, expected, err)}
	}
	if got != nil {
		if err := json.Unmarshal(got, &have); err != nil {
			return []string{err.Error()}
		}
	}
	if cmp.Equal(want, have) {
		return nil
	}
	return []string{fmt.Sprintf("%s: %s instead of %s", name, got, expected)}
}

func sortedNames[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
