package packages

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"path"
	"regexp"
	"strings"
	"sync"

	"github.com/pelletier/go-toml/v2"
	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
)

// maxLock bounds a lock file in bytes. Those of npm have up to 3 MB.
const maxLock = 16 << 20

// LockOf tells by the path of a file of a source tree in which form it names the packages that an installation from the tree
// would bring, with their versions; false if it names none. They are installed nowhere yet.
func LockOf(name string) (Form, bool) {
	switch base := path.Base(name); {
	case base == "package-lock.json", base == "npm-shrinkwrap.json":
		return lock("npm", npmLock), true
	case strings.HasPrefix(base, "requirements") && strings.HasSuffix(base, ".txt"):
		return lock("python", requirements), true
	case base == "poetry.lock", base == "uv.lock", base == "pdm.lock":
		return lock("python", tomlLock("python")), true
	case base == "Cargo.lock":
		return lock("rust", tomlLock("rust")), true
	case base == "go.mod":
		return lock("go", goMod), true
	case base == "Gemfile.lock":
		return lock("ruby", gemLock), true
	case base == "composer.lock":
		return Form{"php", false, readComposer}, true
	}
	return Form{}, false
}

// lock is the form of a lock file that is read whole.
func lock(manager string, read func(data []byte) ([]Package, error)) Form {
	return Form{manager, false, func(in *input) ([]Package, error) {
		in.limit(maxLock)
		data, err := in.all()
		if err != nil {
			return nil, err
		}
		list, err := read(data)
		kept := list[:0]
		for _, p := range list {
			if p.Name != "" && p.Version != "" {
				kept = append(kept, p)
			}
		}
		return kept, err
	}}
}

// npmLock reads npm's lock files (docs.npmjs.com, package-lock-json): packages by their paths since version 2, before that
// dependencies in dependencies.
func npmLock(data []byte) ([]Package, error) {
	var v struct {
		Packages map[string]struct {
			Name, Version string
			Link          bool
		}
		Dependencies map[string]npmDependency
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return nil, err
	}
	var list []Package
	const modules = "node_modules/"
	for at, p := range v.Packages {
		if i := strings.LastIndex(at, modules); i >= 0 && !p.Link {
			list = append(list, Package{Manager: "npm", Name: cmp.Or(p.Name, at[i+len(modules):]), Version: p.Version})
		}
	}
	if v.Packages != nil {
		return list, nil
	}
	return appendNPM(list, v.Dependencies), nil
}

// npmDependency is a package of version 1, with those that are installed for it alone.
type npmDependency struct {
	Version      string
	Dependencies map[string]npmDependency
}

func appendNPM(list []Package, all map[string]npmDependency) []Package {
	for name, d := range all {
		list = appendNPM(append(list, Package{Manager: "npm", Name: name, Version: d.Version}), d.Dependencies)
	}
	return list
}

// pinned matches a line of requirements that allows one version only (pip.pypa.io, "Requirements File Format").
var pinned = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*===?\s*([0-9A-Za-z][0-9A-Za-z.!+_-]*)\s*(?:[;#\\]|--|$)`)
})

// requirements reads pip's: of those that allow several versions none is known.
func requirements(data []byte) ([]Package, error) {
	var list []Package
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if m := pinned().FindStringSubmatch(lines.Text()); m != nil {
			list = append(list, Package{Manager: "python", Name: m[1], Version: m[2]})
		}
	}
	return list, lines.Err()
}

// tomlLock reads lock files that are a list of packages in TOML. Those without a source are of the tree itself in Cargo's.
func tomlLock(manager string) func(data []byte) ([]Package, error) {
	return func(data []byte) ([]Package, error) {
		var v struct {
			Package []struct {
				Name    string `toml:"name"`
				Version string `toml:"version"`
				Source  any    `toml:"source"`
			} `toml:"package"`
		}
		if err := toml.Unmarshal(data, &v); err != nil {
			return nil, err
		}
		var list []Package
		for _, p := range v.Package {
			if manager != "rust" || p.Source != nil {
				list = append(list, Package{Manager: manager, Name: p.Name, Version: p.Version})
			}
		}
		return list, nil
	}
}

// goMod reads the modules that a go.mod requires (go.dev/ref/mod), and what stands in the place of others.
func goMod(data []byte) ([]Package, error) {
	f, err := modfile.Parse("go.mod", data, nil)
	if err != nil {
		if f, err = modfile.ParseLax("go.mod", data, nil); err != nil { // of a later version of Go
			return nil, err
		}
	}
	replaced := map[module.Version]module.Version{}
	for _, r := range f.Replace {
		if r.New.Version != "" { // else it is a directory, which has no version of its own
			replaced[r.Old] = r.New
		}
	}
	var list []Package
	for _, r := range f.Require {
		m, ok := replaced[r.Mod]
		if !ok {
			m, ok = replaced[module.Version{Path: r.Mod.Path}]
		}
		if !ok {
			m = r.Mod
		}
		list = append(list, Package{Manager: "go", Name: m.Path, Version: m.Version})
	}
	return list, nil
}

// gemSpec matches a gem of Bundler's lock file: four spaces, and six for what it needs.
var gemSpec = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?m)^ {4}(\S+) \(([0-9][^()\s]*)\)\r?$`) })

func gemLock(data []byte) ([]Package, error) {
	var list []Package
	for _, m := range gemSpec().FindAllSubmatch(data, maxPackages+1) {
		list = append(list, Package{Manager: "ruby", Name: string(m[1]), Version: string(m[2])})
	}
	return list, nil
}
