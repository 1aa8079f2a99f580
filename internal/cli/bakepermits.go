package cli

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/strata-build/strata/internal/builder/bake"
)

// permits are what --allow of bake permits. A definition may be a third party's, so buildx lets its targets have neither
// privileges nor files outside of the working directory without it (docker docs, buildx bake --allow).
type permits struct {
	names       []string // network.host, security.insecure, buildx.local.delete, ssh
	read, write []string // paths, with all below them
	files       bool     // whether files are looked at
}

func newPermits(allow []string) (*permits, error) {
	here, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	p := &permits{read: []string{here}, write: []string{here}, files: true}
	if on, err := strconv.ParseBool(os.Getenv("BUILDX_BAKE_ENTITLEMENTS_FS")); err == nil {
		p.files = on
	}
	for _, text := range allow {
		name, path, _ := strings.Cut(text, "=")
		switch name {
		case "":
		case "network.host", "security.insecure", "buildx.local.delete", "ssh":
			p.names = append(p.names, name)
		case "fs.read":
			p.read = append(p.read, path)
		case "fs.write":
			p.write = append(p.write, path)
		case "fs":
			p.read, p.write = append(p.read, path), append(p.write, path)
		case "image", "image.push", "image.load", "device":
		default:
			return nil, usageError("--allow %s: it is network.host, security.insecure, ssh, fs.read=PATH, fs.write=PATH, fs=PATH or buildx.local.delete", text)
		}
	}
	return p, nil
}

// privileges are the --allow of a target's build. Without permits, what the target asks for is permitted.
func (p *permits) privileges(t *bake.Target) (all []string) {
	for _, name := range t.Entitlements {
		if p == nil || slices.Contains(p.names, name) {
			all = append(all, name)
		}
	}
	if p == nil || slices.Contains(p.names, "buildx.local.delete") {
		all = append(all, "buildx.local.delete")
	}
	return all
}

// check returns an error that names the --allow that the targets of a plan lack.
func (p *permits) check(plan *bake.Plan) error {
	lacking := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(plan.Targets)) {
		t := plan.Targets[name]
		for _, privilege := range t.Entitlements {
			if !slices.Contains(p.names, privilege) {
				lacking[privilege] = true
			}
		}
		if !p.files {
			continue
		}
		reads, writes := filesOf(t)
		for _, path := range outside(reads, p.read) {
			lacking["fs.read="+path] = true
		}
		for _, path := range outside(writes, p.write) {
			lacking["fs.write="+path] = true
		}
	}
	if len(lacking) == 0 {
		return nil
	}
	var flags []string
	for _, name := range slices.Sorted(maps.Keys(lacking)) {
		flags = append(flags, "--allow "+name)
	}
	return fmt.Errorf("the targets ask for what is not permitted; if you trust the definition, add: %s", strings.Join(flags, " "))
}

// filesOf are the files and directories of this machine that a target reads and writes.
func filesOf(t *bake.Target) (reads, writes []string) {
	contexts := slices.AppendSeq([]string{*t.Context}, maps.Values(t.Contexts))
	if dockerfile := dockerfileOf(t); dockerfile != "" && t.DockerfileInline == nil && !bake.IsRemote(*t.Context) {
		contexts = append(contexts, dockerfile)
	}
	for _, c := range contexts {
		local := !bake.IsRemote(c) && !strings.HasPrefix(c, "target:") && !strings.HasPrefix(c, "docker-image:")
		if local {
			reads = append(reads, strings.TrimPrefix(bake.Path(c), "oci-layout://"))
		}
	}
	for _, s := range t.Secrets {
		if s.Src != "" {
			reads = append(reads, s.Src)
		}
	}
	for _, s := range t.SSH {
		reads = append(reads, s.Paths...)
	}
	for _, c := range t.CacheFrom {
		if c["type"] == "local" {
			reads = append(reads, c["src"])
		}
	}
	for _, c := range t.CacheTo {
		if c["type"] == "local" {
			writes = append(writes, c["dest"])
		}
	}
	for _, o := range t.Outputs {
		if dest := o["dest"]; dest != "" && dest != "-" {
			writes = append(writes, dest)
		}
	}
	return reads, writes
}

// outside are the paths that lie in none of the permitted directories, links resolved.
func outside(paths, permitted []string) (out []string) {
	for _, path := range paths {
		real := realPath(path)
		in := slices.ContainsFunc(permitted, func(dir string) bool {
			if dir == "*" {
				return true
			}
			rel, err := filepath.Rel(realPath(dir), real)
			return err == nil && filepath.IsLocal(rel)
		})
		if !in {
			out = append(out, path)
		}
	}
	return out
}

// realPath resolves the links of what is there of a path.
func realPath(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	for dir, rest := abs, ""; ; dir, rest = filepath.Dir(dir), filepath.Join(filepath.Base(dir), rest) {
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			return filepath.Join(real, rest)
		}
		if dir == filepath.Dir(dir) {
			return abs
		}
	}
}
