package layer

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestNamesOfALinkAheadOfItsTarget: a hard link can be put before anything has the name that it leads to.
func TestNamesOfALinkAheadOfItsTarget(t *testing.T) {
	n := newNames()
	want := []*Entry{
		{Path: "some/directory/link", Type: Hardlink, Link: "another/one/with/the/file", Mode: 0o640, UID: 7, ModTime: 5},
		{Path: "another/one/with/the/file", Type: File, Mode: 0o640, UID: 7, ModTime: 5, Size: 3},
	}
	for _, e := range want {
		if err := n.put(e); err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range want {
		if d := cmp.Diff(e, n.get(e.Path)); d != "" {
			t.Errorf("%s (-put +got):\n%s", e.Path, d)
		}
	}
	if n.n != len(want) {
		t.Errorf("it has %d entries, want %d", n.n, len(want))
	}
}

// TestNamesSetAgain: a tar that has one name again and again takes no more memory than one that has as many names.
func TestNamesSetAgain(t *testing.T) {
	n := newNames()
	if err := n.put(&Entry{Path: "a", Type: File}); err != nil {
		t.Fatal(err)
	}
	n.puts = maxPuts
	if err := n.put(&Entry{Path: "a", Type: File}); err == nil || !strings.Contains(err.Error(), "strata accepts") {
		t.Error(err)
	}
}
