package cli

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/strata-build/strata/internal/builder"
	"github.com/strata-build/strata/internal/builder/export"
	"github.com/strata-build/strata/internal/cache/places"
)

// list is an offer for each part of a word that has commas.
func list(o offer) offer {
	return func(r *request) choices {
		i := strings.LastIndex(r.word, ",") + 1
		done, part := r.word[:i], *r
		part.word = r.word[i:]
		c := o(&part)
		given := strings.Split(done, ",")
		var rest []string
		for _, w := range c.words {
			if name, _, _ := strings.Cut(w, "\t"); !slices.Contains(given, name) {
				rest = append(rest, done+w)
			}
		}
		c.words = rest
		return c
	}
}

// open is an offer of words that go on.
func open(o offer) offer {
	return func(r *request) choices {
		c := o(r)
		c.open = true
		return c
	}
}

// newOnly leaves out the arguments that are given already.
func newOnly(o offer) offer {
	return func(r *request) choices {
		c := o(r)
		c.words = slices.DeleteFunc(c.words, func(w string) bool {
			name, _, _ := strings.Cut(w, "\t")
			return slices.Contains(r.args, name)
		})
		return c
	}
}

// attributes offers the words of NAME=VALUE,NAME=VALUE, where the value of type decides on the other names.
type attributes struct {
	types []string
	names func(kind string) []string
	// values are those of a name, nil for anything.
	values func(name string, r *request) []string
}

func (a attributes) offer(r *request) choices {
	i := strings.LastIndex(r.word, ",") + 1
	done, part := r.word[:i], r.word[i:]
	given, kind := map[string]bool{}, ""
	for _, field := range strings.Split(strings.TrimSuffix(done, ","), ",") {
		name, value, _ := strings.Cut(field, "=")
		given[name] = true
		if name == "type" {
			kind = value
		}
	}
	c := choices{open: true}
	if name, value, ok := strings.Cut(part, "="); ok {
		for _, v := range a.valuesOf(name, value, r) {
			c.words = append(c.words, done+name+"="+v)
		}
		return c
	}
	if kind == "" {
		for _, t := range a.types {
			c.words = append(c.words, done+"type="+t)
		}
		return c
	}
	for _, name := range a.names(kind) {
		if !given[name] {
			c.words = append(c.words, done+name+"=")
		}
	}
	return c
}

func (a attributes) valuesOf(name, value string, r *request) []string {
	switch name {
	case "type":
		return a.types
	case "src", "source", "dest":
		return pathsBelow(value)
	}
	return a.values(name, r)
}

// pathsBelow are the paths that begin as the text does, directories with a slash, for words that are more than a path.
func pathsBelow(text string) []string {
	found, err := filepath.Glob(strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(text) + "*")
	if err != nil {
		return nil
	}
	for i, path := range found {
		if st, err := os.Stat(path); err == nil && st.IsDir() {
			found[i] += "/"
		}
	}
	return found
}

// outputs offers what --output takes: a directory, or the attributes of a type.
func outputs(r *request) choices {
	c := attributes{types: export.Types(), names: export.Attributes, values: outputValues}.offer(r)
	if !strings.ContainsAny(r.word, ",=") {
		c.words = append(c.words, pathsBelow(r.word)...)
	}
	return c
}

func outputValues(name string, r *request) []string {
	switch name {
	case "compression":
		return []string{"gzip", "zstd", "estargz", "uncompressed"}
	case "mode":
		return []string{"copy", "delete"}
	case "name":
		return imageNames(r).words
	case "dest", "annotation", "compression-level", "source-date-epoch", "dangling-name-prefix":
		return nil
	}
	return yesOrNo
}

var yesOrNo = []string{"true", "false"}

func cacheFrom(r *request) choices {
	c := cachePlaces(func(k places.Kind) []places.Attribute { return k.From }).offer(r)
	if !strings.ContainsAny(r.word, ",=") {
		c.words = append(c.words, imageNames(r).words...)
	}
	return c
}

func cacheTo(r *request) choices {
	return cachePlaces(func(k places.Kind) []places.Attribute { return k.To }).offer(r)
}

// cachePlaces offers the places of caches that have attributes in one direction.
func cachePlaces(of func(places.Kind) []places.Attribute) attributes {
	a := attributes{values: cacheValues}
	for _, k := range builder.CachePlaces.Kinds {
		if of(k) != nil && k.Type != builder.CachePlaces.From {
			a.types = append(a.types, k.Type)
		}
	}
	a.names = func(kind string) (names []string) {
		for _, k := range builder.CachePlaces.Kinds {
			if k.Type != kind {
				continue
			}
			for _, attr := range of(k) {
				names = append(names, attr.Name)
			}
		}
		return names
	}
	return a
}

func cacheValues(name string, r *request) []string {
	switch name {
	case "mode":
		return []string{"min", "max"}
	case "compression":
		return []string{"gzip", "zstd", "estargz", "uncompressed"}
	case "ref":
		return imageNames(r).words
	case "ignore-error", "image-manifest", "oci-mediatypes", "reset", "force-compression":
		return yesOrNo
	}
	return nil
}

// secrets offers the ids of the Dockerfile's secrets, and where one comes from.
func secrets(r *request) choices {
	ids := dockerfileNames(r).Secrets
	a := attributes{
		types: []string{"file", "env"},
		names: func(string) []string { return nil },
		values: func(name string, _ *request) []string {
			switch name {
			case "id":
				return ids
			case "env":
				return environment()
			}
			return nil
		},
	}
	if strings.Contains(r.word, ",") && !strings.Contains(r.word[strings.LastIndex(r.word, ","):], "=") {
		done := r.word[:strings.LastIndex(r.word, ",")+1]
		return choices{words: []string{done + "src=", done + "env="}, open: true}
	}
	if strings.Contains(r.word, "=") {
		return a.offer(r)
	}
	if len(ids) == 0 {
		return choices{words: []string{"id="}, open: true}
	}
	c := choices{open: true}
	for _, id := range ids {
		c.words = append(c.words, "id="+id)
	}
	return c
}

// environment are the names of the environment variables.
func environment() (names []string) {
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// mounts offers what the --mount of run takes.
func mounts(r *request) choices {
	return attributes{
		types: []string{"bind", "tmpfs", "volume"},
		names: func(kind string) []string {
			if kind == "tmpfs" {
				return []string{"target", "tmpfs-size"}
			}
			return []string{"source", "target", "readonly"}
		},
		values: func(string, *request) []string { return nil },
	}.offer(r)
}
