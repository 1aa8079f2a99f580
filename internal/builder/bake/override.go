package bake

import (
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
)

// override is one attribute that --set gives to a target: the values of all --set of the same attribute, in their
// order.
type override struct {
	attribute string // "args", "output", …
	key       string // what is after the second dot: the name of an argument, a label, a context; "" for none
	values    []string
	add       bool // ATTRIBUTE+=VALUE
}

func (o *override) last() string { return o.values[len(o.values)-1] }

// keyed are the attributes that take TARGET.ATTRIBUTE.KEY=VALUE.
var keyed = []string{"args", "contexts", "labels", "extra-hosts", "secret", "resources"}

// SetAttribute is an attribute that --set takes.
type SetAttribute struct {
	Name string
	// Keyed says that a key follows: TARGET.args.NAME=VALUE.
	Keyed bool
}

// SetAttributes are all that --set takes, by name.
func SetAttributes() (all []SetAttribute) {
	for _, name := range []string{
		"annotations", "args", "attest", "cache-from", "cache-to", "call", "context", "contexts", "dockerfile", "dockerfile-inline",
		"entitlements", "extra-hosts", "labels", "load", "network", "no-cache", "no-cache-filter", "output", "platform", "policy",
		"pull", "push", "resources", "secret", "secrets", "shm-size", "ssh", "tags", "target", "ulimits",
	} {
		all = append(all, SetAttribute{name, slices.Contains(keyed, name)})
	}
	return all
}

// Keys are the keys that a keyed attribute has in the blocks of the targets that match a pattern, sorted: the names of
// args, for one.
func (c *Config) Keys(pattern, attribute string) []string {
	names, err := c.matchTargets(pattern)
	if err != nil {
		return nil
	}
	all := map[string]bool{}
	for _, t := range c.Targets {
		if !slices.Contains(names, t.Name) {
			continue
		}
		for name, of := range map[string]map[string]*string{"args": t.Args, "labels": t.Labels, "extra-hosts": t.ExtraHosts} {
			for key := range of {
				all[key] = all[key] || name == attribute
			}
		}
		for key := range t.Contexts {
			all[key] = all[key] || attribute == "contexts"
		}
		for _, s := range t.Secrets {
			all[s.ID] = all[s.ID] || attribute == "secret"
		}
	}
	maps.DeleteFunc(all, func(_ string, has bool) bool { return !has })
	return slices.Sorted(maps.Keys(all))
}

// parseOverrides reads TARGET.ATTRIBUTE=VALUE, where TARGET is a name or a pattern, by the targets that they are for.
func (c *Config) parseOverrides(texts []string) (map[string][]*override, error) {
	all := map[string][]*override{}
	for _, text := range texts {
		left, value, hasValue := strings.Cut(text, "=")
		left, add := strings.CutSuffix(left, "+")
		parts := strings.SplitN(left, ".", 3)
		if len(parts) < 2 || parts[0] == "" || parts[1] == "" {
			return nil, fmt.Errorf("--set %s: it takes TARGET.ATTRIBUTE=VALUE", text)
		}
		o := override{attribute: parts[1], add: add, values: []string{value}}
		if len(parts) == 3 {
			o.key = parts[2]
		}
		switch {
		case slices.Contains(keyed, o.attribute) && o.key == "":
			return nil, fmt.Errorf("--set %s: it takes TARGET.%s.NAME=VALUE", text, o.attribute)
		case o.attribute == "args" && !hasValue:
			env, ok := os.LookupEnv(o.key)
			if !ok || !readsEnvironment() {
				continue
			}
			o.values = []string{env}
		case !hasValue:
			return nil, fmt.Errorf("--set %s: it takes TARGET.ATTRIBUTE=VALUE", text)
		}
		names, err := c.matchTargets(parts[0])
		if err != nil {
			return nil, fmt.Errorf("--set %s: %w", text, err)
		}
		for _, name := range names {
			all[name] = addOverride(all[name], o)
		}
	}
	return all, nil
}

func addOverride(list []*override, o override) []*override {
	for _, have := range list {
		if have.attribute == o.attribute && have.key == o.key {
			have.values = append(slices.Clone(have.values), o.values...)
			have.add = o.add
			return list
		}
	}
	return append(list, &o)
}

func (c *Config) matchTargets(pattern string) ([]string, error) {
	var names []string
	for _, t := range c.Targets {
		if t.Name == pattern {
			return []string{pattern}, nil
		}
		ok, err := path.Match(pattern, t.Name)
		if err != nil {
			return nil, fmt.Errorf("%s is no pattern: %w", pattern, err)
		}
		if ok {
			names = append(names, t.Name)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("no target is called %s", pattern)
	}
	return names, nil
}

// override lays the values of --set over the target. push and load come last, since they change the outputs.
func (t *Target) override(list []*override) error {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b *override) int { return rank(a) - rank(b) })
	for _, o := range list {
		if err := t.set(o); err != nil {
			return fmt.Errorf("%s: %w", o.attribute, err)
		}
	}
	return nil
}

func rank(o *override) int {
	return slices.Index([]string{"secret", "push", "load"}, o.attribute)
}

func (t *Target) set(o *override) error {
	for attribute, to := range map[string]**string{
		"context": &t.Context, "dockerfile": &t.Dockerfile, "dockerfile-inline": &t.DockerfileInline, "target": &t.Stage,
		"call": &t.Call, "network": &t.Network, "shm-size": &t.ShmSize,
	} {
		if o.attribute == attribute {
			*to = ptr(o.last())
			return nil
		}
	}
	for attribute, to := range map[string]*map[string]*string{"args": &t.Args, "labels": &t.Labels, "extra-hosts": &t.ExtraHosts} {
		if o.attribute == attribute {
			put(to, o.key, ptr(o.last()))
			return nil
		}
	}
	for attribute, to := range map[string]*[]string{
		"tags": &t.Tags, "platform": &t.Platforms, "no-cache-filter": &t.NoCacheFilter, "ulimits": &t.Ulimits,
	} {
		if o.attribute == attribute {
			*to = o.list(*to)
			return nil
		}
	}
	return t.setOther(o)
}

// list is the values, behind those that are there for +=.
func (o *override) list(have []string) []string {
	if !o.add {
		have = nil
	}
	return append(slices.Clone(have), o.values...)
}

func (t *Target) setOther(o *override) (err error) {
	switch o.attribute {
	case "contexts":
		put(&t.Contexts, o.key, o.last())
	case "annotations":
		t.Annotations = append(slices.Clone(t.Annotations), o.values...)
	case "entitlements":
		t.Entitlements = append(slices.Clone(t.Entitlements), o.values...)
	case "cache-from":
		t.CacheFrom, err = entries(t.CacheFrom, o, parseCache)
	case "cache-to":
		t.CacheTo, err = entries(t.CacheTo, o, parseCache)
	case "output":
		t.Outputs, err = entries(t.Outputs, o, parseOutput)
	case "policy":
		t.Policy, err = entries(t.Policy, o, parsePolicy)
	case "attest":
		o = &override{values: o.values, add: true}
		t.Attest, err = entries(t.Attest, o, parseAttest)
	case "secrets":
		t.Secrets, err = entries(t.Secrets, o, func(text string) (Secrets, error) {
			s, err := parseSecret(text)
			return Secrets{s}, err
		})
	case "secret":
		return t.setSecret(o.key, o.last())
	case "ssh":
		t.SSH, err = entries(t.SSH, o, func(text string) (SSHKeys, error) { return SSHKeys{parseSSH(text)}, nil })
	case "resources":
		put((*map[string]string)(&t.Resources), o.key, o.last())
		return t.Resources.check()
	case "pull", "no-cache", "push", "load":
		on, err := strconv.ParseBool(o.last())
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", o.last())
		}
		t.setFlag(o.attribute, on)
	default:
		return fmt.Errorf("there is no such attribute")
	}
	return err
}

// entries reads the values of an attribute that is a list of entries; empty values leave it empty.
func entries[E any, L ~[]E](have L, o *override, parse func(string) (L, error)) (L, error) {
	if !o.add {
		have = nil
	}
	all := slices.Clone(have)
	for _, text := range o.values {
		if text == "" {
			continue
		}
		some, err := parse(text)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// setSecret changes where a secret that the target has comes from.
func (t *Target) setSecret(id, text string) error {
	i := slices.IndexFunc(t.Secrets, func(s Secret) bool { return s.ID == id })
	if i < 0 {
		return fmt.Errorf("the target has no secret %s", id)
	}
	s, err := parseSecret(text)
	if err != nil {
		return err
	}
	if s.ID != "" && s.ID != id {
		return fmt.Errorf("%q names the secret %s, not %s", text, s.ID, id)
	}
	s.ID = id
	t.Secrets = slices.Clone(t.Secrets)
	t.Secrets[i] = s
	return nil
}

func (t *Target) setFlag(attribute string, on bool) {
	switch attribute {
	case "pull":
		t.Pull = &on
	case "no-cache":
		t.NoCache = &on
	case "push":
		t.Outputs = pushed(t.Outputs, on)
	case "load":
		if on {
			t.Outputs = loaded(t.Outputs)
		}
	}
}

// pushed is what --push makes of outputs: an image is pushed; files stay files. Without outputs, or beside images
// that are loaded, there is one that is pushed. Off, what would be pushed is not; the last takes the place of one
// that goes, as buildx orders them.
func pushed(outputs Outputs, on bool) Outputs {
	all := slices.Clone(outputs)
	pushes := true
	for i := 0; i < len(all); i++ {
		switch kind := all[i]["type"]; {
		case kind == "registry" && !on:
			last := len(all) - 1
			all[i] = all[last]
			all = all[:last]
			i--
			continue
		case kind == "image":
			all[i] = maps.Clone(all[i])
			all[i]["push"] = strconv.FormatBool(on)
		}
		pushes = pushes && all[i]["type"] == "docker"
	}
	if on && pushes {
		all = append(all, Entry{"type": "image", "push": "true"})
	}
	return all
}

// loaded is what --load makes of outputs: the image is loaded too, unless files are written instead of an image.
func loaded(outputs Outputs) Outputs {
	for _, o := range outputs {
		switch o["type"] {
		case "docker":
			if o["dest"] == "" {
				return outputs
			}
		case "image", "registry", "oci":
		default:
			return outputs
		}
	}
	return append(slices.Clone(outputs), Entry{"type": "docker"})
}
