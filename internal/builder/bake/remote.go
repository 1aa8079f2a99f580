package bake

import (
	"iter"
	"maps"
	"net/url"
	"path"
	"strings"

	"github.com/strata-build/strata/internal/builder/source/address"
)

// cwdPrefix begins a path that is relative to where bake was started, also where the definition is elsewhere.
const cwdPrefix = "cwd://"

// isRemote says that a context is a URL or a git repository.
func isRemote(text string) bool {
	source, err := address.ParseContext(text)
	return err == nil && source != nil
}

// Arguments splits what stands on the command line: the URL of the definition and of the context of the command,
// where there are any, and the targets, "default" if none is named.
func Arguments(args []string) (definition, command string, targets []string) {
	command = cwdPrefix
	if len(args) > 0 && isRemote(args[0]) {
		definition, args = args[0], args[1:]
		if len(args) > 0 && isRemote(args[0]) {
			command, args = args[0], args[1:]
		}
	}
	if len(args) == 0 {
		args = []string{"default"}
	}
	return definition, command, args
}

// IsRemote says that a context of a target is a URL or a git repository.
func IsRemote(context string) bool { return isRemote(context) }

// From makes paths of a definition that came from a URL mean files there.
func (p *Plan) From(definition string) {
	for _, t := range p.Targets {
		t.Context = ptr(below(definition, *t.Context))
		for name, value := range t.Contexts {
			if rest, ok := strings.CutPrefix(value, cwdPrefix); ok {
				t.Contexts[name] = path.Clean(rest)
			} else if !special(value) {
				t.Contexts[name] = below(definition, value)
			}
		}
	}
}

func special(context string) bool {
	for _, prefix := range []string{targetPrefix, "docker-image:", "oci-layout:"} {
		if strings.HasPrefix(context, prefix) {
			return true
		}
	}
	return false
}

// below is the URL of a directory of what a URL names. A file that a server has, such as a tar, has no directories that
// can be named.
func below(definition, dir string) string {
	if rest, ok := strings.CutPrefix(dir, cwdPrefix); ok {
		return path.Clean(rest)
	}
	dir = path.Clean(dir)
	if isRemote(dir) || path.IsAbs(dir) {
		return dir
	}
	source, err := address.ParseContext(definition)
	if dir == "." || err != nil || source == nil || source.Git == nil {
		return definition
	}
	base, fragment, _ := strings.Cut(definition, "#")
	if u, err := url.Parse(base); err == nil && fragment == "" && u.Query().Has("subdir") {
		query := u.Query()
		query.Set("subdir", path.Join(query.Get("subdir"), dir))
		u.RawQuery = query.Encode()
		return u.String()
	}
	ref, sub, _ := strings.Cut(fragment, ":")
	return base + "#" + ref + ":" + path.Join(sub, dir)
}

func mapKeys[V any](m map[string]V) iter.Seq[string] { return maps.Keys(m) }
