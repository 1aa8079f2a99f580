package builder

import (
	"context"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/attest"
	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/builder/explain"
	"github.com/strata-build/strata/internal/image/platform"
	"github.com/strata-build/strata/internal/sandbox/runner"
)

// provenance says all that is known of how the image of a plan was built.
func (b *build) provenance(ctx context.Context, plan *dockerfile.Plan, asked *attest.ProvenanceOptions) *attest.Provenance {
	built := b.journal.Build()
	stages := stagesOf(built, plan)
	p := &attest.Provenance{
		Definition: attest.Definition{
			BuildType: attest.BuildType,
			External:  attest.External{Config: b.configSource(), Request: b.asked(plan)},
			Internal:  attest.Internal{Platform: platform.Format(b.Target.Platform), BuildConfig: &attest.BuildConfig{Stages: stages}},
		},
		Run: attest.Run{
			Builder: attest.Builder{ID: asked.BuilderID, Version: map[string]string{"strata": asked.Version}},
			Metadata: attest.Metadata{
				InvocationID: built.ID, Started: built.Started.UTC(), Finished: time.Now().UTC(),
				BuildKit:     attest.BuildMetadata{VCS: b.vcs(ctx, asked), Source: b.sourceInfo()},
				Hermetic:     b.hermetic(stages),
				Completeness: attest.Completeness{Request: true, Dependencies: b.complete(stages)},
				Reproducible: asked.Reproducible,
			},
		},
	}
	p.Definition.Dependencies = b.dependencies()
	if p.Run.Builder.ID == "" {
		p.Run.Builder.ID = attest.BuilderID
	}
	if b.epoch != nil {
		// Two builds that give the same image say the same of it: no time and no name of one of them, and not which steps
		// of it were cached.
		p.Run.Metadata.Started, p.Run.Metadata.Finished = b.epoch.UTC(), b.epoch.UTC()
		for _, s := range stages {
			for i := range s.Steps {
				s.Steps[i].Cached = false
			}
		}
		p.Run.Metadata.InvocationID, p.Run.Metadata.BuildKitID = "", ""
		if a, err := p.Attestation(); err == nil {
			p.Run.Metadata.InvocationID = digest.FromBytes(a.Predicate).Encoded()[:len(built.ID)]
		}
	}
	p.Run.Metadata.BuildKitID = p.Run.Metadata.InvocationID
	return p
}

func (b *build) configSource() attest.ConfigSource {
	_, file := place(&b.Source)
	c := attest.ConfigSource{Path: file}
	if b.input.remote == nil {
		return c
	}
	c.URI = b.input.remote.String()
	for _, t := range b.fetcher.Taken() {
		if t.URI == c.URI {
			c.Digest = t.Digest
		}
	}
	return c
}

// asked is what the build was given, under the names that BuildKit's frontend has for it.
func (b *build) asked(plan *dockerfile.Plan) attest.Asked {
	a := attest.Asked{Frontend: "dockerfile.v0", Args: map[string]string{}}
	for name, value := range b.Target.Args {
		a.Args["build-arg:"+name] = value
	}
	for name, value := range b.Target.Labels {
		a.Args["label:"+name] = value
	}
	if b.Target.Stage != "" {
		a.Args["target"] = b.Target.Stage
	}
	for _, c := range b.Source.Contexts {
		if c.Dir != "" {
			a.Locals = append(a.Locals, attest.Local{Name: c.Name})
		}
	}
	if b.input.remote == nil {
		a.Locals = append(a.Locals, attest.Local{Name: "context"}, attest.Local{Name: "dockerfile"})
	}
	slices.SortFunc(a.Locals, func(x, y attest.Local) int { return strings.Compare(x.Name, y.Name) })
	used := plan.Outline()
	a.Secrets, a.SSH = mounts(used.Secrets), mounts(used.SSH)
	return a
}

func mounts(used []dockerfile.OutlineMount) []attest.Mount {
	var all []attest.Mount
	for _, m := range used {
		all = append(all, attest.Mount{ID: m.Name, Optional: !m.Required})
	}
	return all
}

// stagesOf are the stages of a plan, and what became of their steps.
func stagesOf(built *explain.Build, plan *dockerfile.Plan) []attest.Stage {
	var all []attest.Stage
	for _, s := range built.Stages {
		if s.Target() != platform.Format(plan.Platform()) {
			continue
		}
		st := attest.Stage{Name: s.Name, Platform: s.Platform, From: s.From}
		for _, step := range s.Steps {
			st.Steps = append(st.Steps, attest.Step{
				Line: step.Line, Instruction: step.Text, Key: string(step.Key), Layer: string(step.Layer),
				Cached: step.Status == explain.Hit, Network: step.Source,
			})
		}
		all = append(all, st)
	}
	return all
}

// dependencies are the images, files and repositories that the build took from elsewhere.
func (b *build) dependencies() []attest.Dependency {
	b.bases.mu.Lock()
	all := b.bases.taken.Clone()
	b.bases.mu.Unlock()
	for _, t := range b.fetcher.Taken() {
		all.Add(attest.Dependency{URI: t.URI, Digest: maps.Clone(t.Digest)})
	}
	return all.Sorted()
}

// hermetic says that no step could reach a network. Base images, and what an ADD takes by its digest, do not count, as
// with BuildKit.
func (b *build) hermetic(stages []attest.Stage) bool {
	for _, s := range stages {
		for _, step := range s.Steps {
			word, rest, _ := strings.Cut(step.Instruction, " ")
			if strings.EqualFold(word, "run") && b.Sandbox.Network != runner.NetworkNone && !strings.Contains(rest, "--network=none") {
				return false
			}
		}
	}
	return true
}

// complete says that the dependencies are all that the image was made of: nothing came from a directory of this
// machine, and no step could fetch.
func (b *build) complete(stages []attest.Stage) bool {
	return b.input.remote != nil && len(b.Source.Contexts) == 0 && b.hermetic(stages)
}

func (b *build) sourceInfo() *attest.Source {
	return &attest.Source{Infos: []attest.SourceInfo{{Filename: filepath.Base(b.input.name), Language: "Dockerfile", Data: b.input.source}}}
}

// vcs is of which repository and commit the context is a checkout, where it is a directory of this machine.
func (b *build) vcs(ctx context.Context, asked *attest.ProvenanceOptions) map[string]string {
	if b.input.remote != nil || b.Source.Context == "-" || asked.NoVCS {
		return nil
	}
	dir, err := filepath.Abs(b.Source.Context)
	if err != nil {
		return nil
	}
	return attest.VCS(ctx, dir)
}
