package cli

import (
	"strings"
)

// both offers the words of two offers.
func both(a, b offer) offer {
	return func(r *request) choices {
		c, more := a(r), b(r)
		c.words = append(c.words, more.words...)
		return c
	}
}

// containers are the names of the containers that create made, with their images.
func containers(r *request) (c choices) {
	s, ok := r.stored()
	if !ok {
		return c
	}
	all, err := s.Containers()
	if err != nil {
		return c
	}
	for _, container := range all {
		c.words = append(c.words, described(container.Name, "container of "+container.Text))
	}
	return c
}

// volumes are the names of the volumes.
func volumes(r *request) (c choices) {
	s, ok := r.stored()
	if !ok {
		return c
	}
	all, err := s.Volumes()
	if err != nil {
		return c
	}
	for _, v := range all {
		c.words = append(c.words, described(v.ID, "volume"))
	}
	return c
}

// cacheMounts are the IDs of the cache mounts.
func cacheMounts(r *request) (c choices) {
	s, ok := r.stored()
	if !ok {
		return c
	}
	all, err := s.CacheMounts()
	if err != nil {
		return c
	}
	for _, m := range all {
		c.words = append(c.words, described(strings.TrimPrefix(m.ID, "/"), "cache mount"))
	}
	return c
}

// copied are what cp copies from, each with the colon before a path.
func copied(r *request) choices {
	c := both(containers, imageNames)(r)
	for i, w := range c.words {
		name, text, found := strings.Cut(w, "\t")
		c.words[i] = name + ":"
		if found {
			c.words[i] += "\t" + text
		}
	}
	c.open = true
	return c
}

// withoutDescription are the words alone.
func withoutDescription(described []string) (plain []string) {
	for _, w := range described {
		name, _, _ := strings.Cut(w, "\t")
		plain = append(plain, name)
	}
	return plain
}

// inheritedVariables are the variables of the environment, which -e NAME takes over.
func inheritedVariables(*request) choices { return choices{words: environment()} }
