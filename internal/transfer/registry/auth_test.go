package registry

import (
	"strings"
	"testing"
)

func TestAllows(t *testing.T) {
	for _, c := range []struct {
		granted, needed string
		want            bool
	}{
		{"repository:a:pull,push", "repository:a:pull", true},
		{"repository:a:pull", "repository:a:pull,push", false},
		{"repository:a:pull,push repository:b:pull", "repository:b:pull", true},
		{"repository:a:pull", "repository:ab:pull", false},
		{"repository:a/b:pull", "repository:a:pull", false},
		{"repository:host:5000/a:pull,push", "repository:host:5000/a:push", true},
		{"repository:a:pull", "repository:a:pull repository:b:pull", false},
		{"", "", true},
		{"repository:a:pull", "", false},
		{"registry:catalog:*", "registry:catalog:*", true},
	} {
		if got := allows(strings.Fields(c.granted), strings.Fields(c.needed)); got != c.want {
			t.Errorf("a token for %q serves for %q: %t", c.granted, c.needed, got)
		}
	}
}
