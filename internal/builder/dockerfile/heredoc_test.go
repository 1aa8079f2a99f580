package dockerfile

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-build/strata/internal/image"
)

// Names and history rows are BuildKit's.
func TestRunHeredoc(t *testing.T) {
	for _, test := range []struct{ text, command, name, script string }{
		{"RUN <<EOF\n\techo $A\necho b\nEOF\n", "\techo $A\necho b\n", "RUN <<EOF (echo 1...)", ""},
		{"RUN <<-'EOF'\n\techo $A\n\tEOF\n", "echo $A\n", "RUN <<-'EOF' (echo 1)", ""},
		{"RUN <<EOF\nEOF\n", "", "RUN <<EOF ()", ""},
		{"RUN cat <<EOF >/x\n$A\nEOF\n", "cat <<EOF >/x\n$A\nEOF", "RUN cat <<EOF >/x", ""},
		{"RUN cat <<A <<-\"B\"\na\nA\n\tb\n\tB\n", "cat <<A <<-\"B\"\na\nA\n\tb\nB", "RUN cat <<A <<-\"B\"", ""},
		{"RUN <<EOF\n#!/usr/bin/env python3\nprint(1)\nEOF\n", "/dev/pipes/EOF", "RUN <<EOF (#!/usr/bin/env python3...)", "#!/usr/bin/env python3\nprint(1)\n"},
	} {
		p := mustPlan(t, "FROM a\nENV A=1\n"+test.text, Options{})
		steps, _ := walkAll(t, p, nil)
		step := steps[1]
		if diff := cmp.Diff([]string{"/bin/sh", "-c", test.command}, step.Run.Args); diff != "" {
			t.Errorf("%q: %s", test.text, diff)
		}
		if want := "RUN /bin/sh -c " + test.command + " # buildkit"; step.CreatedBy("") != want {
			t.Errorf("history %q, want %q", step.CreatedBy(""), want)
		}
		if want := "[2/2] " + test.name; step.Vertex() != want {
			t.Errorf("vertex %q, want %q", step.Vertex(), want)
		}
		if script := step.Run.Script; test.script == "" != (script == nil) || script != nil && *script != (Script{"EOF", test.script}) {
			t.Errorf("%q: script %+v", test.text, script)
		}
	}
}

// A trigger of the base image carries its here-document along.
func TestHeredocOnBuild(t *testing.T) {
	_, w := walkAll(t, mustPlan(t, "FROM a\nONBUILD RUN <<EOF\nx\nEOF\n", Options{}), nil)
	triggers := w.Config().OnBuild
	if diff := cmp.Diff([]string{"RUN <<EOF\nx\nEOF"}, triggers); diff != "" {
		t.Fatal(diff)
	}
	steps, _ := walkAll(t, mustPlan(t, "FROM b\n", Options{}), func(string) image.Runtime { return onBuild(triggers...) })
	if diff := cmp.Diff([]string{"/bin/sh", "-c", "x\n"}, steps[0].Run.Args); diff != "" {
		t.Error(diff)
	}
}
