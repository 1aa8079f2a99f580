package cli

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/strata-build/strata/internal/builder/bake"
	"github.com/strata-build/strata/internal/human"
)

// permits are what --allow of bake permits. A definition may be a third party's, so buildx lets its targets have
// neither privileges nor files outside of the working directory without it (docker docs, buildx bake --allow).
type permits struct {
	names       []string // network.host, security.insecure, buildx.local.delete, ssh
	read, write []string // paths, with all below them
	files       bool     // whether files, and the ssh agent, are looked at
	definition  string   // the URL from which the definition was read, "" for files of this machine
}

func newPermits(allow []string, definition string) (*permits, error) {
	here, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	p := &permits{read: []string{here}, write: []string{here}, files: true, definition: definition}
	open, err := isOnByEnvironment("BAKE_ALLOW_REMOTE_FS_ACCESS", false)
	if err != nil {
		return nil, err
	}
	if p.files, err = isOnByEnvironment("BUILDX_BAKE_ENTITLEMENTS_FS", definition == "" || !open); err != nil {
		return nil, err
	}
	return p, p.addAll(allow)
}

// isOnByEnvironment reads a variable that is true or false.
func isOnByEnvironment(name string, otherwise bool) (bool, error) {
	text := os.Getenv(name)
	if text == "" {
		return otherwise, nil
	}
	on, err := strconv.ParseBool(text)
	if err != nil {
		return false, usageError("%s=%s: it is true or false", name, text)
	}
	return on, nil
}

// add permits what an --allow says.
func (p *permits) add(text string) error {
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
		return usageError("--allow %s: it is network.host, security.insecure, ssh, fs.read=PATH, fs.write=PATH, fs=PATH or buildx.local.delete", text)
	}
	return nil
}

func (p *permits) addAll(allow []string) error {
	for _, text := range allow {
		if err := p.add(text); err != nil {
			return err
		}
	}
	return nil
}

// permit permits what the targets of a plan lack if the person at the terminal says so, and else is an error that names
// it.
func (a *app) permit(ctx context.Context, p *permits, plan *bake.Plan) error {
	lacking := p.lacking(plan)
	if len(lacking) == 0 {
		return nil
	}
	flags := "--allow " + strings.Join(lacking, " --allow ")
	if human.IsTerminal(a.stdin) && human.IsTerminal(a.stdout.File) {
		fmt.Fprintln(a.stdout, printable("The targets ask for what is not permitted; this permits it without a question: "+flags))
		yes, err := a.confirm(ctx, "Do you trust the definition, and want to permit it? [y/N] ")
		if err != nil {
			return err
		}
		if yes {
			return p.addAll(lacking)
		}
	}
	return fmt.Errorf("the targets ask for what is not permitted; if you trust the definition, add: %s", flags)
}

// secrets are the --secret of a target whose context is a repository of the host that the definition came from: as with
// buildx, what reads the one may read the other.
func (p *permits) secrets(t *bake.Target) []string {
	if p == nil || p.definition == "" {
		return nil
	}
	from, of := repositoryOf(p.definition), repositoryOf(*t.Context)
	if from == nil || of == nil || !strings.EqualFold(from.Host(), of.Host()) {
		return nil
	}
	return gitSecrets(of)
}

// usesAgent says whether a target's build is given the person's ssh agent: by its ssh, or to read its context.
func (p *permits) usesAgent(t *bake.Target) bool {
	for _, s := range t.SSH {
		if len(s.Paths) == 0 {
			return true
		}
	}
	r := repositoryOf(*t.Context)
	return len(t.SSH) == 0 && r != nil && r.SSH()
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

// lacking are the --allow that the targets of a plan lack, sorted.
func (p *permits) lacking(plan *bake.Plan) []string {
	lacking := map[string]bool{}
	for _, t := range plan.Targets {
		for _, privilege := range t.Entitlements {
			lacking[privilege] = true
		}
		for _, o := range t.Outputs {
			if o["type"] == "local" && o["mode"] == "delete" {
				lacking["buildx.local.delete"] = true
			}
		}
		if !p.files {
			continue
		}
		if p.usesAgent(t) {
			lacking["ssh"] = true
		}
		reads, writes := filesOf(t)
		for _, path := range outside(reads, p.read) {
			lacking["fs.read="+path] = true
		}
		for _, path := range outside(writes, p.write) {
			lacking["fs.write="+path] = true
		}
	}
	maps.DeleteFunc(lacking, func(text string, _ bool) bool { return slices.Contains(p.names, text) })
	return slices.Sorted(maps.Keys(lacking))
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
