package dockerfile

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/strata-build/strata/internal/image/platform"
)

// Named is what a named context (--build-context) is, as far as a plan has to know it. Without any of its fields set,
// it is files that whoever runs the steps has.
type Named struct {
	Image string // an image's name, which means the image as if the Dockerfile had it there; "scratch" is an empty one
	Stage string // the name or index of a stage of the same Dockerfile
}

// ContextName is a name in the form in which those of named contexts are compared: as a reference without docker.io,
// library/ and :latest, so that --build-context docker.io/library/alpine:latest= means FROM alpine. A platform may
// follow, alpine::linux/arm64; such a name counts for that platform only (BuildKit's frontend/dockerui/context.go,
// NamedContext).
func ContextName(name string) (string, error) {
	base, wanted, hasPlatform := strings.Cut(name, "::")
	ref, err := reference.ParseNormalizedNamed(base)
	if err != nil {
		return "", fmt.Errorf("the name %q: %w; it is written like a stage's or an image's", base, err)
	}
	base = strings.TrimSuffix(reference.FamiliarString(ref), ":latest")
	if isReserved(base) {
		return "", fmt.Errorf("the name %q is taken: %[1]s means the same in every build", base)
	}
	if !hasPlatform {
		return base, nil
	}
	p, err := platform.Parse(wanted, platform.Local())
	if err != nil {
		return "", fmt.Errorf("the name %q: %w", name, err)
	}
	return base + "::" + platform.Format(p), nil
}

// isReserved says of names that no context can have (namedContextFunc in BuildKit's dockerfile2llb/convert.go).
func isReserved(name string) bool {
	return strings.EqualFold(name, "scratch") || strings.EqualFold(name, "context")
}

// contextCalled finds the named context of a name, which is a stage's or an image's; "" if there is none. flag is a
// FROM's --platform, "" for the target's.
func (p *Plan) contextCalled(name, flag string) (string, Named) {
	if len(p.options.Contexts) == 0 || isReserved(name) {
		return "", Named{}
	}
	want, err := ContextName(name)
	if err != nil {
		return "", Named{}
	}
	of := p.options.Platform
	if flag != "" {
		if of, err = platform.Parse(flag, p.options.BuildPlatform); err != nil {
			return "", Named{} // Stage.check tells
		}
	}
	for _, key := range []string{want + "::" + platform.Format(of), want} {
		if n, ok := p.options.Contexts[key]; ok {
			return key, n
		}
	}
	return "", Named{}
}

// Source is what a FROM, a COPY --from or a RUN --mount takes files from: exactly one of these.
type Source struct {
	Stage   *Stage
	Image   string
	Named   string // a named context that is files
	Scratch bool
}

// Empty says that a stage which starts from here has no files before its first step.
func (s Source) Empty() bool { return s.Scratch || s.Named != "" }

// outside is the source of a name that is no stage's: a named context, or an image.
func (s *Stage) outside(name, flag string) (Source, error) {
	if name == "scratch" {
		return Source{Scratch: true}, nil
	}
	key, n := s.plan.contextCalled(name, flag)
	if key == "" {
		return Source{Image: name}, nil
	}
	return s.meaning(key, n)
}

// meaning is the source that a named context stands for in a stage.
func (s *Stage) meaning(key string, n Named) (Source, error) {
	switch {
	case n.Image == "scratch":
		return Source{Scratch: true}, nil
	case n.Image != "":
		return Source{Image: n.Image}, nil
	case n.Stage == "":
		return Source{Named: key}, nil
	}
	stages := s.plan.file.stages
	for i := len(stages) - 1; i >= 0; i-- {
		if !strings.EqualFold(stages[i].Name, n.Stage) && strconv.Itoa(i) != n.Stage {
			continue
		}
		if i < s.Index {
			return Source{Stage: s.plan.all[i]}, nil
		}
		return Source{}, fmt.Errorf("--build-context %s=target:%s: the stage must come before this one, %s", key, n.Stage, s.title())
	}
	return Source{}, fmt.Errorf("--build-context %s=target:%[2]s: there is no stage %[2]s", key, n.Stage)
}

// replace makes the stage what the named context of its name is: none of its instructions is run.
func (s *Stage) replace(key string, n Named) error {
	from, err := s.meaning(key, n)
	if err != nil {
		return err
	}
	s.Base.Source = from
	s.source.Commands = []instructions.Command{}
	return nil
}

// contextStep is the first step of a stage that starts from a named context's files: it copies all of them.
func (w *Walk) contextStep() *Step {
	s := w.stage
	text := "FROM " + s.Base.Named
	return &Step{
		Stage: s, Place: Place{Line: s.Line, EndLine: s.EndLine, Number: 1, Total: w.total, Text: text, Name: text},
		Copy:   &Copy{Sources: []string{"."}, Dest: "/", DestDir: true, DestText: "/", From: Source{Named: s.Base.Named}},
		Config: shareConfig(w.config), file: s.plan.file,
		row: rowText{text: "[context " + s.Base.Named + "] load from client"}, // BuildKit's
	}
}
