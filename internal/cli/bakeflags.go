package cli

import (
	"cmp"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/strata-build/strata/internal/builder/bake"
	"github.com/strata-build/strata/internal/builder/subrequest"
)

// bakeFlags are the flags of bake, not yet parsed.
type bakeFlags struct {
	files, sets, vars, allow        []string
	networkAllow                    []string
	provenance, sbom, policy        string
	call, list, progress, metadata  string
	push, load, print, debug, quiet bool
	noCache, pull                   *bool
	fleet                           fleetFlags
}

func (f *bakeFlags) register(fl *pflag.FlagSet) {
	fl.VarP((*listFlag)(&f.files), "file", "f", "definition: a `FILE` in HCL, JSON or Compose's form, - for standard input; may be given several times (default BUILDX_BAKE_FILE, or compose.yaml, docker-bake.json, docker-bake.hcl and their like)")
	fl.Var((*listFlag)(&f.sets), "set", "override an attribute, as `TARGET.ATTRIBUTE=VALUE`; TARGET may be a pattern such as *; += adds to a list")
	fl.Var((*listFlag)(&f.vars), "var", "value of a variable, as `NAME=VALUE`")
	fl.BoolVar(&f.print, "print", false, "print the targets as JSON instead of building")
	fl.StringVar(&f.list, "list", "", "list what there is instead of building: `TYPE` is targets or variables; type=TYPE,format=json prints JSON")
	fl.BoolVar(&f.print, "dry-run", false, "as --print")
	_ = fl.MarkHidden("dry-run")
	for _, kind := range []string{"targets", "variables"} { // as buildx did before --list
		fl.BoolFunc("list-"+kind, "as --list="+kind, func(string) error { f.list = kind; return nil })
		_ = fl.MarkHidden("list-" + kind)
	}
	fl.Var((*listFlag)(&f.allow), "allow", "permit what targets ask for: `PRIVILEGE` is network.host, security.insecure, ssh, fs.read=PATH, fs.write=PATH, fs=PATH or buildx.local.delete")
	fl.StringVar(&f.policy, "policy", "", "not supported: source policy `FILE`")
	f.registerCommon(fl)
}

// registerCommon adds the flags that bake and compose build share.
func (f *bakeFlags) registerCommon(fl *pflag.FlagSet) {
	fl.BoolVar(&f.push, "push", false, "push the images to their registries")
	fl.BoolVar(&f.load, "load", false, "store the images, also if there are other outputs")
	fl.BoolFunc("no-cache", "run every step, without the cache", optionalBool(&f.noCache))
	fl.BoolFunc("pull", "ask the registry for newer base images, even if the store has them", optionalBool(&f.pull))
	fl.StringVar(&f.progress, "progress", cmp.Or(os.Getenv("BUILDKIT_PROGRESS"), "auto"), "progress output, a `MODE`: auto, tty, plain, rawjson, quiet or none")
	fl.StringVar(&f.metadata, "metadata-file", "", "write digests and names of the results to this `FILE`, as JSON by target")
	networkAllowFlag(fl, &f.networkAllow, "RUN steps")
	f.fleet.register(fl)
	fl.StringVar(&f.provenance, "provenance", "", "`VALUE` of --set *.attest=type=provenance, such as false")
	fl.StringVar(&f.sbom, "sbom", "", "`VALUE` of --set *.attest=type=sbom, such as false")
	fl.StringVar(&f.call, "call", subrequest.Build, "print this instead of building: `METHOD` is check, outline or targets; ,format=json prints JSON")
	fl.BoolFunc("check", "check the Dockerfiles instead of building, as --call=check", func(value string) error {
		on, err := strconv.ParseBool(value)
		if on {
			f.call = subrequest.Check
		}
		return err
	})
	fl.BoolVarP(&f.debug, "debug", "D", false, "show warnings in full")
	fl.String("builder", "", "ignored: there is only one builder, this program (`NAME`)")
}

func optionalBool(to **bool) func(string) error {
	return func(value string) error {
		on, err := strconv.ParseBool(value)
		*to = &on
		return err
	}
}

// overrides are those of --set, and of the flags that are short for one.
func (f *bakeFlags) overrides() []string {
	all := f.sets
	if f.push {
		all = append(all, "*.push=true")
	}
	if f.load {
		all = append(all, "*.load=true")
	}
	if method, err := subrequest.ParseMethod(f.call); err == nil && method.Name != subrequest.Build {
		all = append(all, "*.call="+method.Name)
	}
	for _, flag := range []struct {
		name string
		on   *bool
	}{{"no-cache", f.noCache}, {"pull", f.pull}} {
		if flag.on != nil {
			all = append(all, fmt.Sprintf("*.%s=%t", flag.name, *flag.on))
		}
	}
	for _, attest := range []struct{ kind, value string }{{"sbom", f.sbom}, {"provenance", f.provenance}} {
		if attest.value != "" {
			all = append(all, "*.attest="+bake.AttestText(attest.kind, attest.value))
		}
	}
	return all
}

// variables are those of --var.
func (f *bakeFlags) variables() (map[string]string, error) {
	all := map[string]string{}
	for _, text := range f.vars {
		name, value, ok := strings.Cut(text, "=")
		if text == "" {
			continue
		}
		if !ok || name == "" {
			return nil, usageError("--var %s: it takes NAME=VALUE", text)
		}
		all[name] = value
	}
	return all, nil
}
