package dockerfile

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/human/suggest"
	"github.com/strata-build/strata/internal/image/platform"
)

// Stage is one FROM and the instructions after it.
type Stage struct {
	Index int
	Name  string // in lower case; "" without AS
	// DisplayName is what BuildKit shows in [build 2/5]: the name, or stage-1, or "" if the file has only one stage and
	// copies from no other image.
	DisplayName   string
	Text          string // the FROM instruction as written
	Line, EndLine int    // of the FROM instruction
	Base          Base
	Platform      ocispec.Platform // what it is built for, and where its RUNs run
	Needs         []*Stage         // what it copies or mounts from: COPY --from, RUN --mount=from=
	Images        []string         // images, not stages, that it copies or mounts from
	Total         int              // how many numbers BuildKit's [n/Total] has, triggers of the base image not counted
	Position      int              // classic: of FROM, the i of Step i/N

	plan   *Plan
	source instructions.Stage
	findings
}

// findings are what planning and walking a stage found out beside its steps. Walks of several
// platforms' stages run at the same time, so all but fromArgs is guarded.
type findings struct {
	fromArgs map[string]struct{} // names of the arguments in the FROM line; does not change after planning

	mu       sync.Mutex
	end      *scope // what the stage's walk left, for stages that start from it
	warnings []Warning
	warned   Tally    // of warnings
	outline  *outline // what the walk found so far
}

// Base is what a stage starts from. An image is as written after expansion: debian:12.
type Base struct {
	Source
	Platform string // --platform after expansion, "" if not said
}

// findBase expands the FROM line. byName holds the stages before this one: no other can be its base.
func (s *Stage) findBase(byName map[string]*Stage, rules *linter.Linter) error {
	x := expander{lex: s.plan.file.lex(), env: s.plan.global}
	name, err := x.word(s.source.BaseName)
	if err != nil {
		return err
	}
	s.lintUndeclared(name.unset, rules)
	if name.text == "" {
		return fmt.Errorf("the name of the base image is empty: %s expands to nothing%s; give the ARG before FROM a default or pass --build-arg",
			s.source.BaseName, s.questions(name.unset))
	}
	flag, err := x.word(s.source.Platform)
	if err != nil {
		return err
	}
	s.lintUndeclared(flag.unset, rules)
	s.fromArgs = maps.Clone(name.used)
	if s.fromArgs == nil {
		s.fromArgs = map[string]struct{}{}
	}
	maps.Copy(s.fromArgs, flag.used)
	if err := s.checkPlatform(flag); err != nil {
		return err
	}
	if s.Base.Platform = flag.text; s.Base.Platform != "" {
		s.lintPlatform(flag, rules)
	}
	if key, n := s.plan.contextCalled(s.Name, s.Base.Platform); key != "" {
		return s.replace(key, n)
	}
	if s.Base.Stage = byName[strings.ToLower(name.text)]; s.Base.Stage == nil {
		s.Base.Source, err = s.outside(name.text, s.Base.Platform)
	}
	return err
}

// checkPlatform refuses a --platform of which nothing, or no platform, is left without the variables that have no value.
func (s *Stage) checkPlatform(flag expansion) error {
	_, err := platform.Parse(flag.text, s.plan.options.BuildPlatform)
	if err == nil || len(flag.unset) == 0 {
		return nil // findPlatform tells the others
	}
	becomes := "nothing"
	if flag.text != "" {
		becomes = flag.text
	}
	return fmt.Errorf("--platform=%s expands to %s%s; give the ARG before the first FROM a default, or pass --build-arg",
		s.source.Platform, becomes, s.questions(flag.unset))
}

// questions are what was probably meant by the variables of a FROM line that have no value.
func (s *Stage) questions(unset map[string]struct{}) string {
	var all strings.Builder
	for _, name := range sortedKeys(unset) {
		all.WriteString(suggest.Question("$", suggest.Near(name, s.plan.global.Keys())))
	}
	return all.String()
}

// lintPlatform warns about a --platform that is always the same, or that says no more than leaving it out.
func (s *Stage) lintPlatform(flag expansion, rules *linter.Linter) {
	_, usesTarget := flag.used["TARGETPLATFORM"]
	target, _ := s.plan.global.Get("TARGETPLATFORM")
	if usesTarget && len(flag.used) == 1 && len(flag.unset) == 0 && flag.text == target {
		rules.Run(&linter.RuleRedundantTargetPlatform, s.source.Location, linter.RuleRedundantTargetPlatform.Format(s.source.Platform))
	}
	p, err := platform.Parse(flag.text, s.plan.options.BuildPlatform)
	if err != nil || len(flag.used)+len(flag.unset) > 0 || strings.Contains(s.Name, p.OS) || strings.Contains(s.Name, p.Architecture) {
		return
	}
	rules.Run(&linter.RuleFromPlatformFlagConstDisallowed, s.source.Location, linter.RuleFromPlatformFlagConstDisallowed.Format(flag.text))
}

// title is how an error calls the stage.
func (s *Stage) title() string {
	if s.Name != "" {
		return s.Name
	}
	return strconv.Itoa(s.Index)
}

// check looks at what can be known of a stage before its base image is: references, what is not supported.
func (s *Stage) check() error {
	f := s.plan.file
	if s.Platform.OS != "linux" {
		return f.errorIn(fmt.Errorf("--platform=%s: images are built for Linux only", platform.Format(s.Platform)), s.source.Location)
	}
	for _, c := range s.source.Commands {
		if err := checkSupported(c, s.plan.options); err != nil {
			return f.errorIn(err, c.Location())
		}
		if err := s.addSources(c); err != nil {
			return f.errorIn(err, c.Location())
		}
	}
	return nil
}

// addSources notes what an instruction copies or mounts from.
func (s *Stage) addSources(c instructions.Command) error {
	var names []string
	find := s.copySource
	switch c := c.(type) {
	case *instructions.CopyCommand:
		names = []string{c.From}
	case *instructions.RunCommand:
		names, find = s.plan.file.mountSources(c), s.mountSource
	}
	for _, name := range names {
		if name == "" {
			continue
		}
		from, err := find(name)
		if err != nil {
			return err
		}
		if from.Image != "" && !slices.Contains(s.Images, from.Image) {
			s.Images = append(s.Images, from.Image)
		}
		if from.Stage != nil && !slices.Contains(s.Needs, from.Stage) {
			s.Needs = append(s.Needs, from.Stage)
		}
	}
	return nil
}

// copySource is what COPY --from names: a stage by name or index, a named context or an image.
func (s *Stage) copySource(from string) (Source, error) {
	if strings.Contains(from, "$") {
		return Source{}, errors.New("COPY --from does not expand variables: name a stage FROM the variable, with its ARG before the first FROM, and copy from that stage")
	}
	all := s.plan.all
	if i, err := strconv.Atoi(from); err == nil {
		switch {
		case i >= 0 && i < s.Index:
			return Source{Stage: all[i]}, nil
		case i >= 0 && i < len(all):
			return Source{}, fmt.Errorf("COPY --from=%d: stage %d does not come before this one, %s", i, i, s.title())
		}
		return Source{}, fmt.Errorf("COPY --from=%s: there is no stage of this index; this is stage %d, and only those before it can be copied from", from, s.Index)
	}
	return s.sourceCalled("COPY --from", from)
}

// sourceCalled is the source of a name that an instruction copies or mounts from.
func (s *Stage) sourceCalled(option, from string) (Source, error) {
	named := s.plan.named[strings.ToLower(from)]
	for _, other := range slices.Backward(named) {
		if other.Index < s.Index {
			return Source{Stage: other}, nil
		}
	}
	switch {
	case len(named) == 0:
		return s.outside(from, "")
	case named[0] == s:
		return Source{}, fmt.Errorf("%s=%s: a stage cannot copy or mount from itself", option, from)
	}
	return Source{}, fmt.Errorf("%s=%s: the stage %q in line %d must come before this one, %s", option, from, named[0].Name, named[0].Line, s.title())
}

// vertices is BuildKit's total for [n/total]: a base image, and every instruction that touches
// files, WORKDIR / included though it makes no step.
func (s *Stage) vertices() int {
	n := 0
	if s.Base.Image != "" || s.Base.Named != "" {
		n = 1
	}
	for _, c := range s.source.Commands {
		if changesFiles(c) {
			n++
		}
	}
	return n
}
