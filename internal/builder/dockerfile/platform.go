package dockerfile

import (
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/image/platform"
)

// defaultPlatform fills in what p leaves open: the whole of other, or its system or architecture.
func defaultPlatform(p, other ocispec.Platform) ocispec.Platform {
	if p.OS == "" && p.Architecture == "" {
		return platform.Normal(other)
	}
	if p.OS == "" {
		p.OS = other.OS
	}
	if p.Architecture == "" {
		p.Architecture = other.Architecture
	}
	return platform.Normal(p)
}

// findPlatform finds out what the stage is built for, after its base is known. As in BuildKit a stage on another stage
// is for whatever that is for, and scratch has the target's platform, whatever --platform says (convert.go,
// initBuildContext and dispatchState.init).
func (s *Stage) findPlatform() error {
	o := s.plan.options
	want := o.Platform
	if s.Base.Platform != "" {
		var err error
		if want, err = platform.Parse(s.Base.Platform, o.BuildPlatform); err != nil {
			return fmt.Errorf("--platform: %w", err)
		}
	}
	switch {
	case s.Base.Stage != nil:
		s.Platform = s.Base.Stage.Platform
	case s.Base.Scratch:
		s.Platform = o.Platform
	default:
		s.Platform = want
	}
	return nil
}

// ShownPlatform is what BuildKit shows before a stage's name where several platforms are built: "linux/arm64", or
// "linux/amd64->arm64" for a stage that makes something for another platform than its own; "" where one is.
func (s *Stage) ShownPlatform() string {
	if !s.plan.options.SeveralPlatforms {
		return ""
	}
	own, target := s.Platform, s.plan.options.Platform
	title := platform.Format(own)
	switch {
	case own.OS != target.OS:
		title += "->" + platform.Format(target)
	case own.Architecture != target.Architecture && target.Variant != "":
		title += "->" + target.Architecture + "/" + target.Variant
	case own.Architecture != target.Architecture:
		title += "->" + target.Architecture
	}
	return title
}

// Platform is what the plan's result is for.
func (p *Plan) Platform() ocispec.Platform { return p.options.Platform }

// TargetPlatform is what the result of the stage's plan is for. Images that a stage copies from are, in BuildKit, those
// for the target, whatever the stage itself is for.
func (s *Stage) TargetPlatform() ocispec.Platform { return s.plan.options.Platform }
