package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/strata-build/strata/internal/sandbox/runner"
)

// limitFlags are the options of Docker's first builder, and of docker run, that limit memory and processors.
type limitFlags struct{ limits runner.Limits }

// register adds the limits of who, which is each RUN of a build or the command of strata run.
func (f *limitFlags) register(fl *pflag.FlagSet, who string) {
	fl.VarP(&limit{f, "memory"}, "memory", "m", "memory limit of "+who+", a `SIZE` such as 512m")
	fl.Var(&limit{f, "memory-swap"}, "memory-swap", "limit of memory plus swap of "+who+", a `SIZE` such as 1g; -1 is no limit")
	fl.VarP(&limit{f, "cpu-shares"}, "cpu-shares", "c", "CPU shares (relative weight) of "+who+"; the usual value is 1024")
	fl.Var(&limit{f, "cpu-period"}, "cpu-period", "CPU CFS period of "+who+", in µs")
	fl.Var(&limit{f, "cpu-quota"}, "cpu-quota", "CPU CFS quota of "+who+": processor time in each period, in µs")
	fl.Var(&limit{f, "cpuset-cpus"}, "cpuset-cpus", "`CPUS` in which "+who+" may execute, such as 0-3,5")
	fl.Var(&limit{f, "cpuset-mems"}, "cpuset-mems", "memory `NODES` that "+who+" may use, such as 0-3")
}

// registerResource adds buildx's option, which has all of them.
func (f *limitFlags) registerResource(fl *pflag.FlagSet) {
	fl.Var(&limit{f, ""}, "resource", "several limits of each RUN, as `NAME=VALUE,...`, such as memory=512m,cpu-quota=50000")
}

// limit is one of these options; without a name it is --resource.
type limit struct {
	flags *limitFlags
	name  string
}

func (l *limit) String() string { return "" }
func (l *limit) Type() string   { return "number" }

// Set implements pflag.Value.
func (l *limit) Set(value string) error {
	if l.name != "" {
		return l.flags.limits.Set(l.name, value)
	}
	name := ""
	for part := range strings.SplitSeq(value, ",") {
		key, v, ok := strings.Cut(part, "=")
		switch {
		case ok:
			name, value = key, v
		case strings.HasPrefix(name, "cpuset-"): // whose values have commas
			value += "," + part
		default:
			return fmt.Errorf("%s: it takes NAME=VALUE", part)
		}
		if err := l.flags.limits.Set(name, value); err != nil {
			return fmt.Errorf("%s: %w", part, err)
		}
	}
	return nil
}

// legacyFlags are options of Docker's classic builder that are ignored or not supported.
type legacyFlags struct {
	squash                     bool
	isolation, builder, policy string
	security                   []string
	trust                      bool
	ignored                    bool
}

func (f *legacyFlags) register(fl *pflag.FlagSet) {
	fl.StringVar(&f.builder, "builder", "", "ignored: there is only one builder, this program (`NAME`)")
	fl.BoolVar(&f.ignored, "compress", false, "ignored: there is no daemon to which the context is sent")
	fl.BoolVar(&f.ignored, "rm", true, "ignored: a container is always removed after its step")
	fl.BoolVar(&f.ignored, "force-rm", false, "ignored: a container is always removed after its step")
	fl.StringVar(&f.isolation, "isolation", "", "`TYPE` of container isolation: only default; the others are for Windows")
	fl.BoolVar(&f.trust, "disable-content-trust", true, "ignored; false is an error, because signatures of images are not checked")
	fl.Var((*listFlag)(&f.security), "security-opt", "ignored with a warning, as in BuildKit; use RUN --security and --allow (`OPTION`)")
	fl.BoolVar(&f.squash, "squash", false, "ignored with a warning, as in BuildKit; use COPY --from=STAGE")
	fl.StringVar(&f.policy, "policy", "", "not supported: source policy `FILE`")
}

func (f *legacyFlags) policyDisabled() bool {
	return strings.Contains(","+f.policy+",", ",disabled=true,")
}

// check returns an error for an option that cannot be obeyed, and warnings for those that are
// ignored.
func (f *legacyFlags) check() (warnings []string, err error) {
	switch {
	case f.isolation != "" && f.isolation != "default":
		return nil, usageError("--isolation %s: on Linux there is only default", f.isolation)
	case !f.trust:
		return nil, usageError("--disable-content-trust=false: signatures of images cannot be checked; name base images by their digests")
	case f.policy != "" && !f.policyDisabled():
		return nil, usageError("--policy: source policies are not supported; name base images by their digests, and ADD with --checksum")
	}
	if f.squash {
		warnings = append(warnings, "--squash is left out: copy what is to stay from one stage into another (COPY --from)")
	}
	if len(f.security) > 0 {
		warnings = append(warnings, "--security-opt is left out: a RUN says --security=insecure, which --allow security.insecure permits")
	}
	return warnings, nil
}
