package explain

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAlign(t *testing.T) {
	for _, test := range []struct {
		name     string
		old, now string // instructions between "|"
		want     []int
	}{
		{"equal", "A 1 2|B 1|C 1", "A 1 2|B 1|C 1", []int{0, 1, 2}},
		{"inserted", "A 1|C 1", "A 1|B x|C 1", []int{0, -1, 1}},
		{"removed", "A 1|B 1|C 1", "A 1|C 1", []int{0, 2}},
		{"replaced by one of its kind", "A 1|RUN make|C 1", "A 1|RUN ./all.sh -v|C 1", []int{0, 1, 2}},
		{"replaced by another kind", "A 1|RUN make|C 1", "A 1|COPY a b|C 1", []int{0, -1, 2}},
		{"changed among others", "RUN a|RUN cc -o x y|B 1", "RUN a|USER n|RUN cc -o x z|B 1", []int{0, -1, 1, 2}},
		{"inserted before one like it", "RUN cc -o x y", "RUN apt-get install cc-12 z|RUN cc -o x y", []int{-1, 0}},
		{"unlike each other", "RUN a b c d|RUN e f g h", "RUN i j k l|RUN m n o p", []int{-1, -1}},
		{"one word", "WORKDIR /a|X 1|ENV A=1", "WORKDIR /b|X 1|ENV A=2", []int{0, 1, 2}},
		{"shell punctuation", "Y 1|RUN echo a|Z 1", "RUN echo a; exit 3|W 1|Z 1", []int{1, -1, 2}},
		{"moved", "A 1|B 1|C 1", "C 1|A 1|B 1", []int{-1, 0, 1}},
		{"nothing before", "", "A 1", []int{-1}},
	} {
		var old []string
		if test.old != "" {
			old = strings.Split(test.old, "|")
		}
		if diff := cmp.Diff(test.want, align(old, strings.Split(test.now, "|"))); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
	}
}

func TestAlignBounds(t *testing.T) {
	many := make([]string, maxAlign+1)
	for i, pair := range align(many, many) {
		if pair != -1 {
			t.Fatalf("%d: %d", i, pair)
		}
	}
}

func TestClipText(t *testing.T) {
	long := strings.Repeat("ü", maxText)
	a, b := clipText(long+"a"), clipText(long+"b")
	if a == b || len(a) > maxText+20 {
		t.Errorf("%q and %q", a, b)
	}
	if got := clipText("RUN make"); got != "RUN make" {
		t.Error(got)
	}
}

func TestLikeness(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want float64
	}{{"a b c d", "a b c d", 1}, {"a b c d", "a b x", 0.5}, {"a", "b", 0}, {"", "a", 0}, {"a a", "a", 0.5}} {
		if got := likeness(strings.Fields(test.a), strings.Fields(test.b)); got != test.want {
			t.Errorf("%q, %q: %v, want %v", test.a, test.b, got, test.want)
		}
	}
}
