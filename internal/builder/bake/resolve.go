package bake

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// Plan is what is built: targets with all that they ask for, and the groups that led to them. Its JSON is what
// --print shows.
type Plan struct {
	Groups  map[string]*Group  `json:"group,omitempty"`
	Targets map[string]*Target `json:"target"`
}

// Print writes the plan as buildx's --print does.
func (p *Plan) Print(w io.Writer) error {
	data, err := json.MarshalIndent(p, "", "  ")
	if err == nil {
		_, err = fmt.Fprintln(w, string(data))
	}
	return err
}

// targetPrefix begins the value of a context that is another target's result.
const targetPrefix = "target:"

// Plan resolves targets and groups, by their names or by patterns such as "app-*", and whatever targets their
// contexts name. overrides are those of --set.
func (c *Config) Plan(names []string, overrides []string) (*Plan, error) {
	wanted, err := c.match(names)
	if err != nil {
		return nil, err
	}
	r := &resolver{config: c}
	if r.overrides, err = c.parseOverrides(overrides); err != nil {
		return nil, err
	}
	p := &Plan{Groups: map[string]*Group{}, Targets: map[string]*Target{}}
	for _, name := range wanted {
		targets, groups := c.members(name, map[string]bool{})
		for _, t := range unique(targets) {
			if p.Targets[t], err = r.target(t); err != nil {
				return nil, err
			}
		}
		for _, g := range unique(groups) {
			p.Groups[g] = c.findGroup(g)
		}
	}
	p.addDefault(wanted)
	for _, name := range slices.Collect(mapKeys(p.Targets)) {
		if err := r.link(p, name, nil); err != nil {
			return nil, err
		}
	}
	for name, t := range p.Targets {
		if err := t.cleanPaths(); err != nil {
			return nil, fmt.Errorf("target %s: %w", name, err)
		}
	}
	return p, nil
}

// addDefault makes the group default of what was asked for, as buildx prints it.
func (p *Plan) addDefault(wanted []string) {
	g := p.Groups["default"]
	if g == nil {
		g = &Group{Name: "default"}
	} else {
		copied := *g
		g = &copied
	}
	g.Targets = slices.Clone(g.Targets)
	for _, name := range wanted {
		if name != "default" || p.Groups["default"] == nil {
			g.Targets = append(g.Targets, name)
		}
	}
	if g.Targets = unique(g.Targets); g.Targets == nil {
		g.Targets = []string{} // [] in what is printed
	}
	slices.Sort(g.Targets)
	p.Groups["default"] = g
}

// match gives the groups and targets that names and patterns mean.
func (c *Config) match(names []string) ([]string, error) {
	var all []string
	for _, name := range names {
		name = TargetName(name)
		if !strings.ContainsAny(name, "*?[]") {
			all = append(all, name)
			continue
		}
		found := len(all)
		for _, known := range c.names() {
			if ok, err := path.Match(name, known); ok && err == nil {
				all = append(all, known)
			}
		}
		if len(all) == found {
			return nil, fmt.Errorf("no target or group is called %s; --list targets shows those that there are", name)
		}
	}
	return unique(all), nil
}

// names are those of all groups, then of all targets.
func (c *Config) names() (names []string) {
	for _, g := range c.Groups {
		names = append(names, g.Name)
	}
	for _, t := range c.Targets {
		names = append(names, t.Name)
	}
	return names
}

// members are the targets of a group, and the groups in it and itself. What is no group is a target.
func (c *Config) members(name string, above map[string]bool) (targets, groups []string) {
	g := c.findGroup(name)
	if g == nil || above[name] {
		if g == nil {
			targets = []string{name}
		}
		return targets, nil
	}
	above[name] = true
	groups = []string{name}
	for _, member := range g.Targets {
		t, inner := c.members(member, above)
		targets, groups = append(targets, t...), append(groups, inner...)
	}
	delete(above, name)
	return targets, groups
}

// resolver resolves targets of one configuration.
type resolver struct {
	config    *Config
	overrides map[string][]*override
}

// target is a target with what it inherits, its overrides and its defaults.
func (r *resolver) target(name string) (*Target, error) {
	t, err := r.inherit(name, map[string]*Target{})
	if err != nil {
		return nil, err
	}
	resolved := *t
	resolved.Inherits = nil
	if resolved.Context == nil {
		resolved.Context = ptr(cmp.Or(t.defaultContext, "."))
	}
	if resolved.Dockerfile == nil || *resolved.Dockerfile == "" {
		resolved.Dockerfile = ptr("Dockerfile")
	}
	return &resolved, nil
}

// inherit merges a target over those that it inherits from. One that inherits from itself by way of others is left
// out there.
func (r *resolver) inherit(name string, done map[string]*Target) (*Target, error) {
	if t, ok := done[name]; ok {
		return t, nil
	}
	done[name] = nil
	own := find(r.config.Targets, name)
	if own == nil {
		return nil, r.unknown(name)
	}
	t := &Target{Name: name}
	for _, from := range own.Inherits {
		parent, err := r.inherit(from, done)
		if err != nil {
			return nil, err
		}
		if parent != nil {
			t.Merge(parent)
		}
	}
	t.Merge(own)
	if err := t.override(r.overrides[name]); err != nil {
		return nil, fmt.Errorf("target %s: --set %w", name, err)
	}
	t.normalize()
	done[name] = t
	return t, nil
}

func (r *resolver) unknown(name string) error {
	if g := r.config.findGroup(name); g != nil {
		return fmt.Errorf("%s is a group, and a target is needed: %s", name, strings.Join(g.Targets, " or "))
	}
	all := r.config.names()
	slices.Sort(all)
	if len(all) == 0 {
		return fmt.Errorf("no target is called %s: the definition has none", name)
	}
	return fmt.Errorf("no target is called %s; there are %s", name, strings.Join(unique(all), ", "))
}

// link adds the targets that contexts name, and finds those that would wait for themselves.
func (r *resolver) link(p *Plan, name string, above []string) error {
	t := p.Targets[name]
	above = append(slices.Clone(above), name)
	for _, key := range slices.Sorted(mapKeys(t.Contexts)) {
		used, ok := strings.CutPrefix(t.Contexts[key], targetPrefix)
		if !ok {
			continue
		}
		if slices.Contains(above, used) {
			return fmt.Errorf("target %s needs itself: %s", used, strings.Join(append(above, used), " → "))
		}
		if p.Targets[used] == nil {
			linked, err := r.target(used)
			if err != nil {
				return fmt.Errorf("target %s: context %s: %w", name, key, err)
			}
			linked.Outputs, linked.linked = Outputs{{"type": "cacheonly"}}, true
			p.Targets[used] = linked
		}
		if err := r.link(p, used, above); err != nil {
			return err
		}
		from := p.Targets[used]
		t.Entitlements = said(append(slices.Clone(t.Entitlements), from.Entitlements...))
		if len(t.Platforms) > 1 && len(from.Platforms) > 1 {
			for _, platform := range t.Platforms {
				if !slices.Contains(from.Platforms, platform) {
					return fmt.Errorf("target %s is built for %s, and target %s, which it uses, is not: add it to the platforms of %s", name, platform, used, used)
				}
			}
		}
	}
	return nil
}

// cleanPaths writes the context as buildx shows it.
func (t *Target) cleanPaths() error {
	if *t.Context == "-" || *t.Dockerfile == "-" {
		return errors.New("standard input can be neither the context nor the Dockerfile of a target; name a directory and a file")
	}
	t.Context = ptr(cleanContext(*t.Context))
	return nil
}

func cleanContext(text string) string {
	if rest, ok := strings.CutPrefix(text, cwdPrefix); ok {
		return path.Clean(rest)
	}
	if isRemote(text) {
		return text
	}
	return path.Clean(text)
}

func ptr[T any](v T) *T { return &v }

// SetArgument gives an argument to each target that has none of this name.
func (p *Plan) SetArgument(name, value string) {
	for _, t := range p.Targets {
		if t.Args[name] == nil {
			put(&t.Args, name, &value)
		}
	}
}

// Uses are the other targets whose results the target's contexts are, by the contexts' names.
func (t *Target) Uses() map[string]string {
	used := map[string]string{}
	for name, value := range t.Contexts {
		if target, ok := strings.CutPrefix(value, targetPrefix); ok {
			used[name] = target
		}
	}
	return used
}

// Path is where a context or file of a target is: a path that begins with cwd:// is relative to the working
// directory, as all are but where the definition is elsewhere.
func Path(text string) string { return strings.TrimPrefix(text, cwdPrefix) }
