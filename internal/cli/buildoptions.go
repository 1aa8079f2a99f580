package cli

import (
	"cmp"
	"os"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	"github.com/spf13/pflag"

	"github.com/strata-build/strata/internal/builder"
	"github.com/strata-build/strata/internal/builder/dialect"
	"github.com/strata-build/strata/internal/builder/exec"
	"github.com/strata-build/strata/internal/builder/subrequest"
	"github.com/strata-build/strata/internal/human/suggest"
	"github.com/strata-build/strata/internal/image/platform"
	"github.com/strata-build/strata/internal/sandbox/runner"
	"github.com/strata-build/strata/internal/transfer"
	"github.com/strata-build/strata/internal/transfer/registry"
)

// buildFlags are the flags of build, not yet parsed.
type buildFlags struct {
	tags, args, labels, contexts, cacheFrom, cacheTo []string
	platforms                                        []string
	noCacheFilter, refresh, observe, networkAllow    []string
	file, target, network, progress, iidfile, engine string
	call                                             string
	noCache, pull, quiet, explain, debug             bool
	lazy                                             lazyFlag

	output outputFlags
	rights rightsFlags
	limits limitFlags
	legacy legacyFlags
	fleet  fleetFlags
}

func (f *buildFlags) register(fl *pflag.FlagSet) {
	fl.VarP((*listFlag)(&f.tags), "tag", "t", "name of the image, as `NAME:TAG`; may be given several times")
	fl.StringVarP(&f.file, "file", "f", "", "`PATH` of the Dockerfile (default PATH/Dockerfile, else PATH/Containerfile)")
	fl.Var((*listFlag)(&f.contexts), "build-context", "named context, as `NAME=VALUE`; VALUE is a directory, docker-image://NAME, oci-layout://DIRECTORY:TAG, target:STAGE or a URL")
	fl.Var((*listFlag)(&f.args), "build-arg", "value of an ARG, as `NAME=VALUE`; NAME alone takes the value from the environment")
	fl.StringVar(&f.target, "target", "", "`STAGE` to build (default the last)")
	fl.BoolVar(&f.noCache, "no-cache", false, "run every step, without the cache")
	fl.Var((*listFlag)(&f.noCacheFilter), "no-cache-filter", "run these steps without the cache: a `STAGE`, the number of a step as the output shows it (4, app:4), or a part of an instruction")
	fl.Var((*listFlag)(&f.refresh), "refresh", "run cached steps again: without a value those that download from the network, with an `AGE` (24h, 7d) those of them that are older, or steps named as for --no-cache-filter")
	fl.Lookup("refresh").NoOptDefVal = builder.RefreshAll
	fl.Var((*listFlag)(&f.observe), "observe", "take a RUN from the cache that read none of the files that have changed: auto, off, or verify, which runs it and compares; off:`STEP` leaves out steps named as for --no-cache-filter (default STRATA_OBSERVE, or auto)")
	fl.Var((*listFlag)(&f.cacheFrom), "cache-from", "import this cache: the `NAME` of an image or cache, type=registry,ref=NAME, type=local,src=DIRECTORY, type=s3,bucket=BUCKET, type=gcs,bucket=BUCKET or type=http,url=URL")
	fl.BoolVar(&f.explain, "explain", false, "explain after the build which steps were cached, and why the others ran")
	fl.Var((*listFlag)(&f.cacheTo), "cache-to", "export the cache: a `NAME` or type=registry,ref=NAME, type=local,dest=DIRECTORY, type=s3, gcs or http as above; mode=max adds the steps of all stages; none writes no cache into the image")
	fl.Var((*listFlag)(&f.platforms), "platform", "target `PLATFORM`, such as linux/arm64; several, separated by commas or given as several options, make an image for each (default DOCKER_DEFAULT_PLATFORM, or this machine's platform)")
	fl.BoolVar(&f.pull, "pull", false, "ask the registry for newer base images, even if the store has them")
	registerLazy(fl, &f.lazy, "RUN steps read")
	fl.Var((*listFlag)(&f.labels), "label", "label of the image, as `NAME=VALUE`")
	fl.StringVar(&f.network, "network", "default", "`NETWORK` of RUN steps: bridge, one of their own; host, this machine's; or none (default STRATA_NETWORK, or "+string(runner.DefaultNetwork)+")")
	networkAllowFlag(fl, &f.networkAllow, "RUN steps")
	fl.StringVar(&f.progress, "progress", cmp.Or(os.Getenv("BUILDKIT_PROGRESS"), "auto"), "progress output, a `MODE`: auto, tty, plain or rawjson; quiet prints only the image ID, none prints nothing")
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "print the image ID only")
	fl.StringVar(&f.iidfile, "iidfile", "", "write the image ID to this `FILE`")
	f.output.register(fl)
	f.rights.register(fl)
	f.limits.register(fl, "each RUN")
	f.limits.registerResource(fl)
	f.legacy.register(fl)
	f.fleet.register(fl)
	fl.StringVar(&f.call, "call", "build", "print this instead of building: `METHOD` is check, outline or targets; ,format=json prints JSON")
	fl.StringVar(&f.call, "print", "build", "as --call")
	_ = fl.MarkHidden("print") // as buildx does
	fl.BoolFunc("check", "check the Dockerfile instead of building, as --call=check", f.setCheck)
	fl.BoolVarP(&f.debug, "debug", "D", false, "show warnings in full")
	fl.StringVar(&f.engine, "engine", "", "build `ENGINE`: graph or classic (default graph; classic if DOCKER_BUILDKIT=0)")
}

// setCheck is --check[=true|false].
func (f *buildFlags) setCheck(value string) error {
	on, err := strconv.ParseBool(value)
	if on {
		f.call = subrequest.Check
	}
	return err
}

// request parses the flags. It checks all that can be checked without the store.
func (f *buildFlags) request() (builder.Request, error) {
	r := builder.Request{
		Source: builder.Source{Dockerfile: f.file},
		Target: builder.Target{Stage: f.target, Args: map[string]string{}, Labels: map[string]string{}, Platform: platform.Local()},
		Cache:  builder.Caching{NoCache: f.noCache, NoCacheFilter: f.noCacheFilter, Refresh: f.refresh, Pull: f.pull},
	}
	for _, t := range f.tags {
		ref, err := registry.ParseName(t)
		if err != nil {
			return r, usageError("--tag: %w", err)
		}
		if _, ok := ref.(reference.Digested); ok {
			return r, usageError("--tag %s: a name that is given to an image cannot have a digest", t)
		}
		r.Output.Tags = append(r.Output.Tags, reference.TagNameOnly(ref))
	}
	for _, kv := range f.args {
		name, value, ok := strings.Cut(kv, "=")
		if name == "" {
			return r, usageError("--build-arg %s: it takes NAME=VALUE", kv)
		}
		if !ok {
			if value, ok = os.LookupEnv(name); !ok {
				continue
			}
		}
		r.Target.Args[name] = value
	}
	if inline, ok := r.Target.Args["BUILDKIT_INLINE_CACHE"]; ok {
		// In BuildKit, 1 writes the inline cache into the image; here it is written unless this is
		// off.
		on, err := strconv.ParseBool(inline)
		r.Cache.NoInline = err == nil && !on
		delete(r.Target.Args, "BUILDKIT_INLINE_CACHE")
	}
	for _, kv := range f.labels {
		name, value, _ := strings.Cut(kv, "=")
		if name == "" {
			return r, usageError("--label %s: it takes NAME=VALUE", kv)
		}
		r.Target.Labels[name] = value
	}
	var err error
	if r.Target.Platforms, err = parsePlatforms(f.platforms); err != nil {
		return r, err
	}
	if r.Cache.Observe, err = observing(f.observe); err != nil {
		return r, err
	}
	if r.Sandbox.Network, err = parseNetwork(f.network); err != nil {
		return r, err
	}
	if r.Sandbox.Allow, err = parseAllow(f.networkAllow); err != nil {
		return r, err
	}
	if err := f.rights.apply(&r, f.network); err != nil {
		return r, err
	}
	r.Sandbox.Machine.Limits, r.Sandbox.Lazy = f.limits.limits, f.lazy.parts != transfer.NoParts
	if r.Target.Dialect, err = engine(f.engine); err != nil {
		return r, err
	}
	if !r.Target.Dialect.Output.BuildKitOptions && len(r.Target.Platforms) > 1 {
		return r, usageError("--platform: the classic engine builds for one platform at a time; leave DOCKER_BUILDKIT=0 out for several")
	}
	if err := f.caches(&r); err != nil {
		return r, err
	}
	if err := f.namedContexts(&r); err != nil {
		return r, err
	}
	return r, f.output.options(&r)
}

// engine returns the rules that a build follows: those of the flag, else Docker's first builder if
// DOCKER_BUILDKIT=0, as in Docker's command line, else BuildKit.
func engine(flag string) (dialect.Dialect, error) {
	if flag == "" {
		switch os.Getenv("DOCKER_BUILDKIT") {
		case "0", "false":
			return dialect.Classic(), nil
		}
		return dialect.Graph(), nil
	}
	d, ok := dialect.Named(flag)
	if !ok {
		return d, usageError("--engine %s: it is graph or classic%s", flag, suggest.DidYouMean(flag, []string{"graph", "classic"}))
	}
	return d, nil
}

// stepLog returns the limits of a step's output, from the environment variables that buildkitd
// reads. A value that is not a number is ignored, as in buildkitd.
func stepLog() *exec.LogLimit {
	limit := exec.DefaultLogLimit
	for name, value := range map[string]*int64{
		"BUILDKIT_STEP_LOG_MAX_SIZE": &limit.Size, "BUILDKIT_STEP_LOG_MAX_SPEED": &limit.Speed,
	} {
		if n, err := strconv.ParseInt(os.Getenv(name), 10, 32); err == nil {
			*value = n
		}
	}
	return &limit
}
