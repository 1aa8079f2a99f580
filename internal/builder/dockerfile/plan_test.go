package dockerfile

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/builder/dialect"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/image/platform"
)

func names(stages []*Stage) string {
	var all []string
	for _, s := range stages {
		all = append(all, s.title())
	}
	return strings.Join(all, " ")
}

func TestPlanStages(t *testing.T) {
	const source = "ARG V=12\nFROM debian:$V AS Base\nFROM base AS build\nFROM scratch AS unused\nRUN --mount=type=cache,target=/x y\nFROM alpine AS tools\nFROM Base\nCOPY --from=BUILD /a /\nCOPY --from=3 /a /\nCOPY --from=busybox:1 /a /\n"
	p := mustPlan(t, source, Options{})
	if got := names(p.Stages); got != "base build tools 4" {
		t.Errorf("needed: %s", got)
	}
	target := p.Target
	if target.Base.Stage != p.Stages[0] || names(target.Needs) != "build tools" || target.Images[0] != "busybox:1" || target.DisplayName != "stage-4" || target.Total != 3 {
		t.Errorf("target %+v", target)
	}
	if p.Stages[0].Base.Image != "debian:12" {
		t.Errorf("base image %q", p.Stages[0].Base.Image)
	}
	steps, _ := walkAll(t, p, nil)
	if c := steps[0].Copy; c.From.Stage != p.Stages[1] || c.From.Image != "" {
		t.Errorf("copy from stage: %+v", c)
	}
	if c := steps[2].Copy; c.From.Stage != nil || c.From.Image != "busybox:1" {
		t.Errorf("copy from image: %+v", c)
	}
	if got := steps[0].Vertex(); got != "[stage-4 1/3] COPY --from=BUILD /a /" {
		t.Error(got)
	}
	if p := mustPlan(t, source, Options{Target: "build"}); names(p.Stages) != "base build" {
		t.Errorf("up to build: %s", names(p.Stages))
	}
	// The classic engine builds what nobody needs too, so what is wrong there is an error.
	if err := build(source, Options{Dialect: dialect.Classic()}, image.Runtime{}); err == nil || !strings.Contains(err.Error(), "Dockerfile:5: the --mount option requires BuildKit") {
		t.Errorf("classic: %v", err)
	}
	p = mustPlan(t, source, Options{Target: "1", Args: map[string]string{"V": "11"}, Dialect: dialect.Classic()})
	if names(p.Stages) != "base build" || p.Stages[0].Base.Image != "debian:11" {
		t.Errorf("classic: %s from %s", names(p.Stages), p.Stages[0].Base.Image)
	}
}

func TestPlanClassic(t *testing.T) {
	p := mustPlan(t, "ARG A=1\nARG B\nFROM x AS a\nRUN b\nFROM y AS c\nRUN d\nRUN e\nFROM z\n", Options{Target: "C", Dialect: dialect.Classic(), Labels: map[string]string{"l": "$v", "k": "w"}})
	if names(p.Stages) != "a c" || p.Steps != 9 || p.Stages[0].Position != 3 || p.Target.Position != 5 || p.Global[1].Text != "ARG B" || p.Global[1].Position != 2 {
		t.Errorf("stages %s, %d steps, FROM at %d and %d", names(p.Stages), p.Steps, p.Stages[0].Position, p.Target.Position)
	}
	steps, w := walkAll(t, p, nil)
	last := steps[len(steps)-1]
	if last.Position != 9 || last.Text != "LABEL l=$v" || last.CreatedBy("") != "/bin/sh -c #(nop)  LABEL l=$v" || last.Line != 5 {
		t.Errorf("%+v", last)
	}
	if diff := cmp.Diff(map[string]string{"l": "$v", "k": "w"}, w.Config().Labels); diff != "" {
		t.Error(diff)
	}
}

func TestGraphLabels(t *testing.T) {
	p := mustPlan(t, "FROM x\nLABEL a=1 b=2\n", Options{Labels: map[string]string{"b": "3"}})
	steps, w := walkAll(t, p, nil)
	if diff := cmp.Diff(map[string]string{"a": "1", "b": "3"}, w.Config().Labels); diff != "" {
		t.Error(diff)
	}
	if len(steps) != 1 || steps[0].Config.Labels["b"] != "2" {
		t.Errorf("the step has the label of the end: %v", steps[0].Config.Labels)
	}
}

func TestDisplayName(t *testing.T) {
	for source, want := range map[string]string{
		"FROM a\n":                                "",
		"FROM a AS x\n":                           "",
		"FROM a\nCOPY --from=b / /\n":             "stage-0",
		"FROM a\nFROM b AS Last\n":                "last",
		"FROM a\nFROM b\n":                        "stage-1",
		"FROM a\nRUN --mount=target=/x y\n":       "stage-0",
		"FROM a AS x\nCOPY --from=busybox / /d\n": "x",
	} {
		if got := mustPlan(t, source, Options{}).Target.DisplayName; got != want {
			t.Errorf("%q: %q, want %q", source, got, want)
		}
	}
}

func TestDuplicateNameTakesTheLater(t *testing.T) {
	p := mustPlan(t, "FROM a AS x\nFROM b AS x\nFROM x\n", Options{})
	if p.Target.Base.Stage.Index != 1 {
		t.Errorf("base is stage %d", p.Target.Base.Stage.Index)
	}
	if len(p.Warnings) != 1 || p.Warnings[0].Rule != "DuplicateStageName" || p.Warnings[0].Line != 2 {
		t.Errorf("%v", p.Warnings)
	}
}

func TestPlatforms(t *testing.T) {
	p := mustPlan(t, "FROM --platform=$BUILDPLATFORM a AS x\nFROM --platform=linux/x86_64 b\nCOPY --from=x / /\n", Options{})
	if p.Stages[0].Base.Platform != "linux/amd64" || p.Stages[1].Base.Platform != "linux/x86_64" {
		t.Errorf("%q %q", p.Stages[0].Base.Platform, p.Stages[1].Base.Platform)
	}
	// A stage for another platform that nobody needs is no error.
	mustPlan(t, "FROM --platform=linux/arm64 a AS x\nFROM b\n", Options{})
	mustPlan(t, "FROM --platform=windows/amd64 a AS x\nFROM b\n", Options{})
	p = mustPlan(t, "FROM --platform=$BUILDPLATFORM a AS x\nFROM x AS y\nFROM --platform=$BUILDPLATFORM scratch AS z\nFROM b\nCOPY --from=y / /\nCOPY --from=z / /\n",
		Options{Platform: ocispec.Platform{OS: "linux", Architecture: "arm64"}, BuildPlatform: testPlatform, SeveralPlatforms: true})
	var got []string
	for _, s := range p.Stages {
		got = append(got, platform.Format(s.Platform)+" "+s.FromVertex("a"))
	}
	want := []string{
		"linux/amd64 [linux/amd64->arm64 x 1/1] FROM a", "linux/amd64 [linux/amd64->arm64 y 1/0] FROM a",
		"linux/arm64 [linux/arm64 z 1/0] FROM a", "linux/arm64 [linux/arm64 stage-3 1/3] FROM a",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestWarnings(t *testing.T) {
	source := "# check=skip=StageNameCasing\nFROM a As B\nMAINTAINER x\nRUN a \\\n\n  b\nFROM --platform=$TARGETPLATFORM b\nrun x\n"
	p := mustPlan(t, source, Options{Args: map[string]string{"NONE": "1", "http_proxy": "x", "BUILDKIT_INLINE_CACHE": "1", "TARGETARCH": "x"}})
	var got []string
	for _, w := range p.Warnings {
		got = append(got, w.String())
	}
	want := []string{
		"NoEmptyContinuation: Empty continuation line (line 6)",
		"FromAsCasing: 'As' and 'FROM' keywords' casing do not match (line 2)",
		"MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 3)",
		"ConsistentInstructionCasing: Command 'run' should match the case of the command majority (uppercase) (line 8)",
		"RedundantTargetPlatform: Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior (line 7)",
		"[Warning] One or more build-args [NONE] were not consumed",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestStepWarnings(t *testing.T) {
	source := "FROM a\nENV HOMES=1\nENV K v\nARG API_KEY\nWORKDIR rel\nCMD x\nCMD $NO [\"y\"]\nLABEL a=$HOMEZ\n# check=skip=UndefinedVar\nLABEL a=$ALSO\nEXPOSE 1:80/TCP\n"
	p := mustPlan(t, source, Options{})
	_, w := walkAll(t, p, nil)
	var got []string
	for _, w := range w.Warnings() {
		got = append(got, w.String())
	}
	want := []string{
		`LegacyKeyValueFormat: "ENV key=value" should be used instead of legacy "ENV key value" format (line 3)`,
		`SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ARG "API_KEY") (line 4)`,
		`WorkdirRelativePath: Relative workdir "rel" can have unexpected results if the base image changes (line 5)`,
		`JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals (line 6)`,
		`MultipleInstructionsDisallowed: Multiple CMD instructions should not be used in the same stage because only the last one will be used (line 6)`,
		`JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals (line 7)`,
		`UndefinedVar: Usage of undefined variable '$HOMEZ' (did you mean $HOMES?) (line 8)`,
		`ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found '1:80/TCP' (line 11)`,
		`ExposeProtoCasing: Defined protocol '1:80/TCP' in EXPOSE instruction should be lowercase (line 11)`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// The rules that look at FROM lines, and those of EXPOSE.
func TestFromWarnings(t *testing.T) {
	for source, want := range map[string][]string{
		"ARG V\nFROM a:$V\n":                                   {"InvalidDefaultArgInFrom: Default value for ARG a:$V results in empty or invalid base image name (line 2)"},
		"ARG V=1\nFROM a:$V\n":                                 nil,
		"FROM a AS scratch\n":                                  {`ReservedStageName: Stage name should not use the same name as reserved stage "scratch" (line 1)`},
		"FROM --platform=linux/arm64 a\n":                      {`FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value "linux/arm64" (line 1)`},
		"FROM --platform=linux/arm64 a AS build-arm64\n":       nil,
		"ARG VERSION=1\nFROM a:${VERSIO:-1}\n":                 {"UndefinedArgInFrom: FROM argument 'VERSIO' is not declared (did you mean VERSION?) (line 2)"},
		"ARG TAG\nFROM a:${TAG:-1}\n":                          nil,
		"ARG P\nFROM --platform=${P:-linux/${TARGETARCH}} a\n": nil,
		"FROM a as Stage\n": {
			"StageNameCasing: Stage name 'Stage' should be lowercase (line 1)",
			"FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)",
		},
	} {
		f, err := Parse([]byte(source), "Dockerfile")
		if err != nil {
			t.Fatalf("%q: %v", source, err)
		}
		var got []string
		_, err = f.Plan(Options{Args: map[string]string{"V": "given"}, Found: func(w Warning) {
			if w.Rule != "" {
				got = append(got, w.String())
			}
		}})
		if err != nil {
			t.Fatalf("%q: %v", source, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", source, diff)
		}
	}
}

// A strict plan is violated by what the walks find, and only where rules are.
func TestViolation(t *testing.T) {
	p := mustPlan(t, "# check=error=true\nFROM a\nMAINTAINER x\nWORKDIR c\n", Options{Args: map[string]string{"NONE": "1"}})
	walkAll(t, p, nil)
	err := p.Violation(p.Findings())
	if err == nil || err.Error() != "Dockerfile: lint violation found for rules: MaintainerDeprecated, WorkdirRelativePath" {
		t.Error(err)
	}
	walkAll(t, p, nil)
	if n := len(p.Findings()); n != 3 {
		t.Errorf("%d findings after a second walk: %v", n, p.Findings())
	}
	p = mustPlan(t, "# check=error=true\nFROM a\n", Options{Args: map[string]string{"NONE": "1"}})
	if err := p.Violation(p.Findings()); err != nil {
		t.Error(err)
	}
}
