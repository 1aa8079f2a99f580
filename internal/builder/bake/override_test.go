package bake

import (
	"strings"
	"testing"
)

// TestSetAttributes: what is offered is what --set takes.
func TestSetAttributes(t *testing.T) {
	c := &Config{Targets: []*Target{{Name: "a"}}}
	for _, a := range SetAttributes() {
		name := a.Name
		if a.Keyed {
			name += ".key"
		}
		all, err := c.parseOverrides([]string{"a." + name + "=1"})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		target := &Target{Name: "a", Secrets: Secrets{{ID: "key"}}}
		if err := target.override(all["a"]); err != nil && strings.Contains(err.Error(), "no such attribute") {
			t.Errorf("%s is offered and not taken: %v", name, err)
		}
	}
}
