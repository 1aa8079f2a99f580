package dockerfile

import (
	"fmt"
	"strings"
	"testing"

	"github.com/strata-build/strata/internal/image"
)

// large are Dockerfiles that are large in one way each: they are planned and walked in well under a second, or refused.
var large = []struct {
	name string
	text func() string
	want string // part of the error, "" for none
}{
	{"10,000 instructions", func() string { return "FROM a\n" + strings.Repeat("RUN true\n", 10_000) }, ""},
	{"10,000 of all kinds", func() string {
		var b strings.Builder
		b.WriteString("FROM a\n")
		for i := range 1000 {
			fmt.Fprintf(&b, "ENV A%d=$A%d\nLABEL l%d=$A%d\nEXPOSE %d\nVOLUME /v%d\nWORKDIR d\nARG B%d=b\nUSER u%d\nRUN x\nCOPY a b\nCMD [\"x\"]\n", i, i-1, i, i, i+1, i, i, i)
		}
		return b.String()
	}, ""},
	{"1,000 stages", func() string {
		var b strings.Builder
		for i := range 1000 {
			fmt.Fprintf(&b, "FROM a AS s%d\nRUN x\n", i)
		}
		for i := range 1000 {
			fmt.Fprintf(&b, "COPY --from=s%d / /\n", i)
		}
		return strings.Replace(b.String(), "COPY", "FROM a\nCOPY", 1)
	}, ""},
	{"a chain of 1,000 stages", func() string {
		var b strings.Builder
		b.WriteString("FROM a AS s0\n")
		for i := range 1000 {
			fmt.Fprintf(&b, "FROM s%d AS s%d\nARG A%d=1\nENV E%d=2\nRUN x\n", i, i+1, i, i)
		}
		return b.String()
	}, ""},
	{"1,000 stages of one name", func() string { return strings.Repeat("FROM a AS x\nRUN x\n", 1000) }, ""},
	{"1,000 stages of the one before of its name", func() string { return "FROM a AS x\n" + strings.Repeat("FROM x AS x\nRUN x\n", 1000) }, ""},
	{"5,000 global ARGs and 5,000 stages", func() string {
		var b strings.Builder
		for i := range 5000 {
			fmt.Fprintf(&b, "ARG A%d=$A%d\n", i, i-1)
		}
		return b.String() + strings.Repeat("FROM a\n", 5000)
	}, ""},
	{"a file of 1 MB", func() string { return "FROM a\n" + strings.Repeat("RUN "+strings.Repeat("x", 995)+"\n", 1040) }, ""},
	{"a file of more", func() string { return "FROM a\n" + strings.Repeat("RUN "+strings.Repeat("x", 995)+"\n", 1060) }, "more than the 1048576 bytes that are allowed"},
	{"more instructions", func() string { return "FROM a\n" + strings.Repeat("RUN x\n", 20_000) }, "20001 instructions, more than the 20000"},
	{"a line of 64 KB", func() string { return "FROM a\nRUN " + strings.Repeat("x", 65_000) + "\n" }, ""},
	{"a longer line", func() string { return "FROM a\nRUN " + strings.Repeat("x", 66_000) + "\n" }, "the line has 66004 bytes"},
	{"a long instruction", func() string { return "FROM a\nRUN " + strings.Repeat("x \\\n", 100_000) + "x\n" }, ""},
	{"deep ONBUILD", func() string { return "FROM a\n" + strings.Repeat("ONBUILD ", 1000) + "RUN x\n" }, "Chaining ONBUILD"},
	{"deep expansion", func() string {
		return "FROM a\nENV A=" + strings.Repeat("${B:-", 5000) + strings.Repeat("}", 5000) + "\n"
	}, "more than 100 deep"},
	{"an open expansion", func() string { return "FROM a\nENV A=" + strings.Repeat("${B:-", 50) + "\n" }, "Dockerfile:2: "},
	{"a wide JSON array", func() string { return "FROM a\nCMD [" + strings.Repeat(`"x",`, 15_000) + `"x"]` + "\n" }, ""},
	{"a deep JSON array", func() string { return "FROM a\nCMD " + strings.Repeat("[", 30_000) + "\n" }, ""},
	{"a LABEL of 10,000", func() string { return "FROM a\nLABEL \\\n" + strings.Repeat("a=b \\\n", 10_000) + "c=d\n" }, ""},
}

func TestLargeFiles(t *testing.T) {
	if testing.Short() {
		t.Skip("needs seven seconds: run without -short")
	}
	for _, c := range large {
		t.Run(c.name, func(t *testing.T) {
			f, err := Parse([]byte(c.text()), "Dockerfile")
			if err == nil {
				err = walkWhole(f)
			}
			switch {
			case c.want == "" && err != nil:
				t.Errorf("%.300v", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("%.300v; want %q", err, c.want)
			}
		})
	}
}

// walkWhole walks all stages of a file.
func walkWhole(f *File) error {
	p, err := f.Plan(Options{AllStages: true, Outline: true})
	if err != nil {
		return err
	}
	ends := map[*Stage]image.Runtime{}
	for _, s := range p.Stages {
		w, err := s.Walk(ends[s.Base.Stage])
		if err != nil {
			return err
		}
		for err == nil {
			_, err = w.Next()
		}
		if w.failed {
			return err
		}
		ends[s] = w.Config()
	}
	p.Outline()
	return nil
}

func BenchmarkLargeFiles(b *testing.B) {
	for _, c := range large {
		text := []byte(c.text())
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if f, err := Parse(text, "Dockerfile"); err == nil {
					_ = walkWhole(f)
				}
			}
		})
	}
}
