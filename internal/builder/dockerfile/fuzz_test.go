package dockerfile

import (
	"errors"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/shell"

	"github.com/strata-build/strata/internal/image"
)

// FuzzLint looks at files and at what may stand in a check directive or its build argument.
func FuzzLint(f *testing.F) {
	for _, s := range []string{
		"FROM a AS b\nMAINTAINER x\n", "# check=error=true\nFROM a\n# b is\nARG b=$c\n# check=skip=all\nCMD x\nCMD y\n",
		"FROM a:$X\nWORKDIR a\nENV KEY v\nEXPOSE 1/TCP\nRUN --mount=type=secret,id=x --mount=type=ssh y\nONBUILD RUN x\nFROM 0\n",
	} {
		f.Add(s, "skip=A,B;error=true;experimental=all")
		f.Add(s, "experimental=InvalidDefinitionDescription")
	}
	f.Fuzz(func(t *testing.T, source, check string) {
		for _, args := range []map[string]string{nil, {checkArg: check}} {
			file, err := Parse([]byte(source), "Dockerfile")
			if err != nil {
				if located := (*Error)(nil); !errors.As(err, &located) {
					t.Fatalf("%T is no *Error: %v", err, err)
				}
				return
			}
			file.Targets()
			p, err := file.Plan(Options{Args: args, AllStages: true, Outline: true, Ignored: func(string) bool { return true }})
			if err != nil {
				continue
			}
			ends := map[*Stage]image.Runtime{}
			for _, s := range p.Stages {
				w, err := s.Walk(ends[s.Base.Stage])
				for err == nil {
					_, err = w.Next()
				}
				if w == nil || w.failed {
					return
				}
				ends[s] = w.Config()
			}
			for _, w := range p.Findings() {
				if w.Line < 0 || w.Line > strings.Count(source, "\n")+1 || w.Rule != "" && w.Message == "" {
					t.Errorf("%+v", w)
				}
			}
			p.Outline()
		}
	})
}

// FuzzExpand expands words: in bounded time and memory, and the same way twice.
func FuzzExpand(f *testing.F) {
	for _, s := range []string{
		"${A:-${B}}", "$A${B:+x}'$C'\"$D\"", `\$A ${A#*} ${A%%?*}`, "${A//a/${B}}", "${A:?no} ${A/\\/x/y}", "<<E $A", "${A", "$", "${}", "$$",
	} {
		f.Add(s, true, false)
		f.Add(s, false, true)
	}
	f.Fuzz(func(t *testing.T, word string, backslash, split bool) {
		escape := '`'
		if backslash {
			escape = '\\'
		}
		env := newEnviron([]string{"A=aaa/b*c", "B=", "C=" + strings.Repeat("x", 5000), "D=$A"})
		x := expander{lex: shell.NewLex(escape), env: env}
		first, err := x.expand(word, split)
		if err != nil {
			return
		}
		x.lex = shell.NewLex(escape)
		second, err := x.expand(word, split)
		if err != nil || first.text != second.text || len(first.words) != len(second.words) {
			t.Errorf("%q: %q, then %q, %v", word, first.text, second.text, err)
		}
		if len(first.text) > 70<<20 {
			t.Errorf("%d bytes", len(first.text))
		}
	})
}
