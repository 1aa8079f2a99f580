package crash

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/strata-build/strata/test/testbed"
)

// look checks what a machine finds afterwards.
func (b *slot) look(t *testing.T, s *scene, tally *tally) {
	t.Helper()
	m, what, done := s.m, s.what, append(s.done, s.next)
	listed, err := m.strata("images", "--format", "{{.Repository}}:{{.Tag}}")
	if err != nil {
		t.Errorf("%s: afterwards: %v", what, err)
		return
	}
	if told, _, _ := strings.Cut(listed, "\n"); strings.Contains(told, "the machine stopped") {
		tally.lost++
		if testing.Verbose() {
			t.Logf("%s: %s", what, told)
		}
	}
	b.check(t, m, what+": afterwards")
	for _, name := range b.names() {
		if !slices.Contains(strings.Fields(listed), name) {
			continue
		}
		tally.images++
		got, err := b.read(m, name)
		if err != nil {
			tally.unreadable++
			t.Logf("%s: afterwards: %v", what, err)
		} else if diff := testbed.Difference(b.want[name], got); diff != "" {
			t.Errorf("%s: afterwards, %s is wrong, %s", what, name, diff)
		}
	}
	for _, op := range done {
		if !op.again {
			continue
		}
		for _, command := range op.commands {
			if _, err := m.strata(command...); err != nil {
				t.Errorf("%s: once more afterwards: %v", what, err)
				return
			}
		}
	}
	for v := range variants { // and a step that runs on what is there
		_, top := b.build(v, "top", "--build-arg", "N=after "+what)
		if v == 0 || slices.ContainsFunc(done, func(op operation) bool { return mentions(op, fmt.Sprint("context", v)) }) {
			if _, err := m.strata(top...); err != nil {
				t.Errorf("%s: a build afterwards: %v", what, err)
			}
		}
	}
	b.check(t, m, what+": after all was done again")
	listed, err = m.strata("images", "--format", "{{.Repository}}:{{.Tag}}")
	if err != nil {
		t.Errorf("%s: afterwards: %v", what, err)
	}
	for _, name := range b.names() {
		if !slices.Contains(strings.Fields(listed), name) {
			continue
		}
		got, err := b.read(m, name)
		if err != nil {
			t.Errorf("%s: after all was done again: %v", what, err)
		} else if diff := testbed.Difference(b.want[name], got); diff != "" {
			t.Errorf("%s: after all was done again, %s is wrong, %s", what, name, diff)
		}
	}
}

// check has strata check its store.
func (b *slot) check(t *testing.T, m *machine, what string) {
	t.Helper()
	if _, err := m.strata("system", "check", "--read-data"); err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

// mentions says whether a word is in one of an operation's commands.
func mentions(op operation, word string) bool {
	return slices.ContainsFunc(op.commands, func(c []string) bool {
		return slices.ContainsFunc(c, func(arg string) bool { return strings.Contains(arg, word) })
	})
}
