package history

import (
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/image"
)

// rebuild gives those of the rows that have no ID yet the config of their moment. The last row's is known, and
// final: from it come the platform and all that no row sets; layers and history go up to the row, and what the rows
// up to it set is carried out again.
//
// The final config decides wherever it can: the last row that sets something gave what the final config has,
// whatever its text looks like; and a variable or label that no row mentions was there from the start.
func rebuild(rows []Row) error {
	final, err := image.Parse(rows[len(rows)-1].Config)
	if err != nil {
		return err
	}
	r := newReplay(final)
	instructions := make([]instruction, len(rows))
	sets := make([]map[field]string, len(rows))
	last := map[field]int{}
	for i, row := range rows {
		instructions[i] = parseCreatedBy(row.History.CreatedBy)
		sets[i] = r.fields(instructions[i])
		for name := range sets[i] {
			last[name] = i
		}
	}
	r.begin(last)
	layers := 0
	for i := range rows {
		r.apply(instructions[i], sets[i], func(name field) bool { return last[name] == i })
		if rows[i].DiffID != "" {
			layers++
		}
		if rows[i].ID != "" {
			continue
		}
		if err := rows[i].encode(r.state(rows[:i+1], layers)); err != nil {
			return err
		}
	}
	return nil
}

func (row *Row) encode(c *image.Config) error {
	data, err := image.Encode(c)
	if err != nil {
		return err
	}
	row.ID, row.Config = digest.FromBytes(data), data
	return nil
}

// field is something that a row can set: "CMD", "ENV PATH", "LABEL version".
type field string

// replay goes through the rows again.
type replay struct {
	final  *image.Config
	env    map[string]string // the final config's
	labels map[string]string
	now    image.Config
	nowEnv map[string]string
	shell  []string
}

func newReplay(final *image.Config) *replay {
	r := &replay{final: final, env: map[string]string{}, labels: final.Config.Labels, nowEnv: map[string]string{}}
	for _, kv := range final.Config.Env {
		key, value, _ := strings.Cut(kv, "=")
		r.env[key] = value
	}
	return r
}

// fields tells what an instruction sets, and to what as far as that can be told of a text.
func (r *replay) fields(in instruction) map[field]string {
	set := map[field]string{}
	switch in.name {
	case "ENV":
		for _, p := range assignments(in.args, r.env) {
			set[field("ENV "+p.key)] = p.value
		}
	case "LABEL":
		for _, p := range assignments(in.args, r.labels) {
			set[field("LABEL "+p.key)] = p.value
		}
	case "EXPOSE":
		for _, p := range ports(in.args) {
			set[field("EXPOSE "+p)] = ""
		}
	case "VOLUME":
		for _, p := range paths(in.args) {
			set[field("VOLUME "+p)] = ""
		}
	case "ENTRYPOINT":
		set["ENTRYPOINT"] = in.args
		set["CMD"] = "" // it drops the CMD that a base image had
	case "CMD", "WORKDIR", "USER", "STOPSIGNAL", "SHELL", "HEALTHCHECK", "ONBUILD", "MAINTAINER":
		set[field(in.name)] = in.args
	}
	return set
}

// begin makes the state before the first row: what the final config has and no row mentions.
func (r *replay) begin(mentioned map[field]int) {
	r.now = *image.Clone(r.final)
	c := &r.now.Config
	has := func(name field) bool { _, ok := mentioned[name]; return ok }
	for key, value := range r.env {
		if !has(field("ENV " + key)) {
			r.nowEnv[key] = value
		}
	}
	for key := range r.labels {
		if has(field("LABEL " + key)) {
			delete(c.Labels, key)
		}
	}
	for port := range r.final.Config.ExposedPorts {
		if has(field("EXPOSE " + port)) {
			delete(c.ExposedPorts, port)
		}
	}
	for volume := range r.final.Config.Volumes {
		if has(field("VOLUME " + volume)) {
			delete(c.Volumes, volume)
		}
	}
	for name, clear := range map[field]func(){
		"CMD":         func() { c.Cmd = nil },
		"ENTRYPOINT":  func() { c.Entrypoint = nil },
		"WORKDIR":     func() { c.WorkingDir = "" },
		"USER":        func() { c.User = "" },
		"STOPSIGNAL":  func() { c.StopSignal = "" },
		"SHELL":       func() { c.Shell = nil },
		"HEALTHCHECK": func() { c.Healthcheck = nil },
		"MAINTAINER":  func() { r.now.Author = "" },
	} {
		if has(name) {
			clear()
		}
	}
	c.OnBuild = nil // triggers have no row in BuildKit's images; those that have one come with it
}

// apply carries an instruction out. isLast says whether nothing after it sets a field.
func (r *replay) apply(in instruction, set map[field]string, isLast func(field) bool) {
	c, final := &r.now.Config, &r.final.Config
	for name, value := range set {
		kind, key, _ := strings.Cut(string(name), " ")
		switch kind {
		case "ENV":
			if last, ok := r.env[key]; ok && isLast(name) {
				value = last
			}
			r.nowEnv[key] = value
		case "LABEL":
			if last, ok := r.labels[key]; ok && isLast(name) {
				value = last
			}
			put(&c.Labels, key, value)
		case "EXPOSE":
			put(&c.ExposedPorts, key, struct{}{})
		case "VOLUME":
			put(&c.Volumes, key, struct{}{})
		}
	}
	switch in.name {
	case "CMD":
		c.Cmd = choose(isLast("CMD"), final.Cmd, commandLine(in.args, r.shell))
	case "ENTRYPOINT":
		c.Entrypoint = choose(isLast("ENTRYPOINT"), final.Entrypoint, commandLine(in.args, r.shell))
		c.Cmd = choose(isLast("CMD"), final.Cmd, nil)
	case "WORKDIR":
		dir := in.args
		if !path.IsAbs(dir) {
			dir = path.Join("/", c.WorkingDir, dir)
		}
		c.WorkingDir = choose(isLast("WORKDIR"), final.WorkingDir, dir)
	case "USER":
		c.User = choose(isLast("USER"), final.User, in.args)
	case "STOPSIGNAL":
		c.StopSignal = choose(isLast("STOPSIGNAL"), final.StopSignal, in.args)
	case "SHELL":
		shell, _ := words(in.args)
		c.Shell = choose(isLast("SHELL"), final.Shell, shell)
		r.shell = c.Shell
	case "HEALTHCHECK":
		c.Healthcheck = choose(isLast("HEALTHCHECK"), final.Healthcheck, nil)
	case "ONBUILD":
		if slices.Contains(final.OnBuild, in.args) {
			c.OnBuild = append(c.OnBuild, in.args)
		}
	case "MAINTAINER":
		r.now.Author = choose(isLast("MAINTAINER"), r.final.Author, in.args)
	}
}

func choose[T any](first bool, a, b T) T {
	if first {
		return a
	}
	return b
}

func put[V any](m *map[string]V, key string, value V) {
	if *m == nil {
		*m = map[string]V{}
	}
	(*m)[key] = value
}

// state is the config after the last of rows, with so many layers.
func (r *replay) state(rows []Row, layers int) *image.Config {
	c := image.Clone(&r.now)
	c.Config.Env = r.environ()
	c.Created = rows[len(rows)-1].History.Created
	c.History = make([]image.History, 0, len(rows))
	for _, row := range rows {
		if !row.implied {
			c.History = append(c.History, row.History)
		}
	}
	c.RootFS.DiffIDs = slices.Clone(r.final.RootFS.DiffIDs[:layers])
	c.Cached = slices.DeleteFunc(c.Cached, func(row image.CachedRow) bool { return row.Row >= len(c.History) })
	if len(c.Cached) == 0 {
		c.Cached = nil
	}
	c.Stages = nil // they come with the last step
	return c
}

// environ lists the variables in the final config's order, which is the order in which they were first set.
func (r *replay) environ() []string {
	var env []string
	seen := map[string]bool{}
	for _, kv := range r.final.Config.Env {
		key, _, _ := strings.Cut(kv, "=")
		if value, ok := r.nowEnv[key]; ok && !seen[key] {
			env = append(env, key+"="+value)
			seen[key] = true
		}
	}
	var others []string
	for key, value := range r.nowEnv {
		if !seen[key] {
			others = append(others, key+"="+value)
		}
	}
	slices.Sort(others)
	return append(env, others...)
}
