package dockerfile

import (
	"maps"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/image/platform"
)

// proxyArgs are the build arguments that need no ARG, in either case, and in the order in which BuildKit gives them to
// a RUN (solver/llbsolver/ops, proxyEnvList). They reach the process and no key and no history.
var proxyArgs = []string{"HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"}

// IsProxyArg says whether a build argument is one of them.
func IsProxyArg(name string) bool {
	return slices.Contains(proxyArgs, name) || slices.Contains(proxyArgs, strings.ToUpper(name)) && name == strings.ToLower(name)
}

// proxyEnv is the environment that proxy arguments make, each in upper and in lower case, as BuildKit does it.
func proxyEnv(args map[string]string) []string {
	var env []string
	for _, proxy := range proxyArgs {
		value := ""
		for _, name := range sortedKeys(args) {
			if strings.EqualFold(name, proxy) {
				value = args[name]
			}
		}
		if value != "" {
			env = append(env, proxy+"="+value, strings.ToLower(proxy)+"="+value)
		}
	}
	return env
}

// automaticArgs are the arguments that BuildKit itself sets: the Dockerfile reference's "automatic platform ARGs in the
// global scope". A build argument of the same name replaces one.
func automaticArgs(o Options, target string) *environ {
	if target == "" {
		target = "default"
	}
	e := newEnviron(nil)
	for _, side := range []struct {
		name string
		p    ocispec.Platform
	}{{"BUILD", o.BuildPlatform}, {"TARGET", o.Platform}} {
		for _, v := range [][2]string{
			{"PLATFORM", platform.Format(side.p)}, {"OS", side.p.OS}, {"OSVERSION", side.p.OSVersion},
			{"ARCH", side.p.Architecture}, {"VARIANT", side.p.Variant},
		} {
			e.set(side.name+v[0], v[1])
		}
	}
	e.set("TARGETSTAGE", target)
	for _, name := range e.Keys() {
		if value, ok := o.Args[name]; ok {
			e.set(name, value)
		}
	}
	return e
}

// expandGlobalArgs adds the ARGs before the first FROM to env, each expanded with those before it. A build argument
// replaces the default. outline, if not nil, gets them as well.
func (f *File) expandGlobalArgs(env *environ, args map[string]string, o *outline) error {
	x := expander{lex: f.lex(), env: env}
	for _, cmd := range f.globalArgs {
		for _, arg := range cmd.Args {
			value, given := args[arg.Key]
			var deps map[string]struct{}
			if !given && arg.Value != nil {
				word, err := x.word(*arg.Value)
				if err != nil {
					return f.errorIn(err, cmd.Location())
				}
				value, deps = word.text, word.used
			}
			if given || arg.Value != nil {
				env.set(arg.Key, value)
			}
			if o == nil {
				continue
			}
			if _, itself := deps[arg.Key]; itself {
				maps.Copy(deps, o.global[arg.Key].deps)
			}
			o.global[arg.Key] = OutlineArg{Name: arg.Key, Value: value, Description: arg.DocComment, Ranges: ranges(cmd.Location()), deps: deps}
		}
	}
	return nil
}

// declaredArgs are the names after ARG in the given stages and before the first FROM.
func (f *File) declaredArgs(stages []*Stage) map[string]bool {
	declared := map[string]bool{}
	add := func(cmd *instructions.ArgCommand) {
		for _, arg := range cmd.Args {
			declared[arg.Key] = true
		}
	}
	for i := range f.globalArgs {
		add(&f.globalArgs[i])
	}
	for _, s := range stages {
		for _, c := range s.source.Commands {
			if cmd, ok := c.(*instructions.ArgCommand); ok {
				add(cmd)
			}
		}
	}
	return declared
}
