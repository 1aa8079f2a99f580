package bake

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// Group names targets and other groups that are built together.
type Group struct {
	Name        string   `json:"-" hcl:"name,label" cty:"name"`
	Description string   `json:"description,omitempty" hcl:"description,optional" cty:"description"`
	Targets     []string `json:"targets" hcl:"targets" cty:"targets"`
}

// Target is a build. Its fields are the attributes of a target block, which hclparser reads into one flat struct;
// the tags are the attributes' names in a file and in what --print shows, in the order in which buildx prints them.
type Target struct {
	Name        string   `json:"-" hcl:"name,label" cty:"name"`
	Description string   `json:"description,omitempty" hcl:"description,optional" cty:"description"`
	Inherits    []string `json:"inherits,omitempty" hcl:"inherits,optional" cty:"inherits"`

	Annotations      []string           `json:"annotations,omitempty" hcl:"annotations,optional" cty:"annotations"`
	Attest           Attests            `json:"attest,omitempty" hcl:"attest,optional" cty:"attest"`
	Context          *string            `json:"context,omitempty" hcl:"context,optional" cty:"context"`
	Contexts         map[string]string  `json:"contexts,omitempty" hcl:"contexts,optional" cty:"contexts"`
	Dockerfile       *string            `json:"dockerfile,omitempty" hcl:"dockerfile,optional" cty:"dockerfile"`
	DockerfileInline *string            `json:"dockerfile-inline,omitempty" hcl:"dockerfile-inline,optional" cty:"dockerfile-inline"`
	Args             map[string]*string `json:"args,omitempty" hcl:"args,optional" cty:"args"`
	Labels           map[string]*string `json:"labels,omitempty" hcl:"labels,optional" cty:"labels"`
	Tags             []string           `json:"tags,omitempty" hcl:"tags,optional" cty:"tags"`
	CacheFrom        Caches             `json:"cache-from,omitempty" hcl:"cache-from,optional" cty:"cache-from"`
	CacheTo          Caches             `json:"cache-to,omitempty" hcl:"cache-to,optional" cty:"cache-to"`
	Stage            *string            `json:"target,omitempty" hcl:"target,optional" cty:"target"`
	Secrets          Secrets            `json:"secret,omitempty" hcl:"secret,optional" cty:"secret"`
	SSH              SSHKeys            `json:"ssh,omitempty" hcl:"ssh,optional" cty:"ssh"`
	Platforms        []string           `json:"platforms,omitempty" hcl:"platforms,optional" cty:"platforms"`
	Outputs          Outputs            `json:"output,omitempty" hcl:"output,optional" cty:"output"`
	Pull             *bool              `json:"pull,omitempty" hcl:"pull,optional" cty:"pull"`
	NoCache          *bool              `json:"no-cache,omitempty" hcl:"no-cache,optional" cty:"no-cache"`
	Network          *string            `json:"network,omitempty" hcl:"network,optional" cty:"network"`
	NoCacheFilter    []string           `json:"no-cache-filter,omitempty" hcl:"no-cache-filter,optional" cty:"no-cache-filter"`
	ShmSize          *string            `json:"shm-size,omitempty" hcl:"shm-size,optional" cty:"shm-size"`
	Ulimits          []string           `json:"ulimits,omitempty" hcl:"ulimits,optional" cty:"ulimits"`
	Resources        Resources          `json:"resources,omitempty" hcl:"resources,optional" cty:"resources"`
	Call             *string            `json:"call,omitempty" hcl:"call,optional" cty:"call"`
	Entitlements     []string           `json:"entitlements,omitempty" hcl:"entitlements,optional" cty:"entitlements"`
	ExtraHosts       map[string]*string `json:"extra-hosts,omitempty" hcl:"extra-hosts,optional" cty:"extra-hosts"`
	Policy           Policies           `json:"policy,omitempty" hcl:"policy,optional" cty:"policy"`

	// linked says that only other targets' contexts name it, so that it has no output of its own.
	linked bool

	homes homes
	// defaultContext is the context of a target that names none, "" for the working directory.
	defaultContext string
}

// Merge lays another definition of the target over this one: lists that say where something goes, names and
// platforms are replaced, what can be collected is added.
func (t *Target) Merge(over *Target) {
	if over.Description != "" {
		t.Description = over.Description
	}
	t.Inherits = append(t.Inherits, over.Inherits...)
	t.homes.merge(over)
	if over.homes.block != nil {
		t.defaultContext = over.defaultContext
	}
	for _, p := range []struct{ to, from **string }{
		{&t.Context, &over.Context}, {&t.Dockerfile, &over.Dockerfile}, {&t.DockerfileInline, &over.DockerfileInline},
		{&t.Stage, &over.Stage}, {&t.Network, &over.Network}, {&t.ShmSize, &over.ShmSize}, {&t.Call, &over.Call},
	} {
		replace(p.to, *p.from)
	}
	replace(&t.Pull, over.Pull)
	replace(&t.NoCache, over.NoCache)
	for name, value := range over.Contexts {
		put(&t.Contexts, name, value)
	}
	for name, value := range over.Resources {
		put((*map[string]string)(&t.Resources), name, value)
	}
	putSet(&t.Args, over.Args)
	putSet(&t.Labels, over.Labels)
	putSet(&t.ExtraHosts, over.ExtraHosts)
	if over.Tags != nil {
		t.Tags = over.Tags
	}
	if over.Platforms != nil {
		t.Platforms = over.Platforms
	}
	if over.CacheTo != nil {
		t.CacheTo = over.CacheTo
	}
	if over.Outputs != nil {
		t.Outputs = over.Outputs
	}
	t.Annotations = append(t.Annotations, over.Annotations...)
	t.NoCacheFilter = append(t.NoCacheFilter, over.NoCacheFilter...)
	t.Ulimits = append(t.Ulimits, over.Ulimits...)
	t.Entitlements = append(t.Entitlements, over.Entitlements...)
	t.Policy = append(t.Policy, over.Policy...)
	t.CacheFrom = withoutEqual(append(slices.Clone(t.CacheFrom), over.CacheFrom...))
	t.Attest = lastOf(append(slices.Clone(t.Attest), over.Attest...), Attest.id)
	t.Secrets = lastOf(append(slices.Clone(t.Secrets), over.Secrets...), Secret.id)
	t.SSH = lastOf(append(slices.Clone(t.SSH), over.SSH...), SSH.id)
}

func replace[T any](to **T, from *T) {
	if from != nil {
		*to = from
	}
}

func put[T any](to *map[string]T, name string, value T) {
	if *to == nil {
		*to = map[string]T{}
	}
	(*to)[name] = value
}

// putSet puts those that have a value: a null in a file leaves what is there.
func putSet(to *map[string]*string, from map[string]*string) {
	for name, value := range from {
		if value != nil {
			put(to, name, value)
		}
	}
}

// normalize drops what is there twice, and adds the entitlement that the host's network needs.
func (t *Target) normalize() {
	for _, list := range []*[]string{&t.Annotations, &t.Tags, &t.Platforms, &t.NoCacheFilter, &t.Ulimits} {
		*list = said(*list)
	}
	t.Attest = lastOf(t.Attest, Attest.id)
	t.Secrets = lastOf(t.Secrets, Secret.id)
	t.SSH = lastOf(t.SSH, SSH.id)
	t.CacheFrom, t.CacheTo, t.Outputs = withoutEqual(t.CacheFrom), withoutEqual(t.CacheTo), withoutEqual(t.Outputs)
	if t.Network != nil && *t.Network == "host" {
		t.Entitlements = append(t.Entitlements, "network.host")
	}
	t.Entitlements = said(t.Entitlements)
	maps.DeleteFunc(t.Contexts, func(_, value string) bool { return value == "" })
	if len(t.Contexts) == 0 {
		t.Contexts = nil
	}
}

// said is unique without empty texts.
func said(texts []string) []string {
	return slices.DeleteFunc(unique(texts), func(text string) bool { return text == "" })
}

// MarshalJSON writes the target so that it can be read as a bake file: what looks like an interpolation is escaped.
func (t *Target) MarshalJSON() ([]byte, error) {
	type plain Target // without this method
	out := plain(*t)
	out.Annotations = slices.Clone(t.Annotations)
	for i, text := range out.Annotations {
		out.Annotations[i] = escape(text)
	}
	if t.DockerfileInline != nil {
		text := escape(*t.DockerfileInline)
		out.DockerfileInline = &text
	}
	out.Labels, out.Args, out.ExtraHosts = escapeAll(t.Labels), escapeAll(t.Args), escapeAll(t.ExtraHosts)
	return json.Marshal(out)
}

var escape = strings.NewReplacer("${", "$${", "%{", "%%{").Replace

func escapeAll(values map[string]*string) map[string]*string {
	escaped := maps.Clone(values)
	for name, value := range values {
		if value != nil {
			text := escape(*value)
			escaped[name] = &text
		}
	}
	return escaped
}
