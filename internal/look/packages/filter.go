package packages

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// FilterKeys are the keys that ParseFilter takes.
var FilterKeys = []string{"type", "name", "ecosystem", "layer", "base"}

// Filter is what --filter asks for. The zero Filter lets everything through; of several values for a key any is enough.
type Filter map[string][]string

// ParseFilter reads KEY=VALUE: type=dpkg, name=PATTERN with * and ?, ecosystem=PyPI or Debian, layer=2 counted from the lowest,
// which is 1, base=true for what the base image brought.
func ParseFilter(values []string) (Filter, error) {
	f := Filter{}
	for _, text := range values {
		key, value, ok := strings.Cut(text, "=")
		if !ok || !slices.Contains(FilterKeys, key) {
			return nil, fmt.Errorf("--filter %s: it is one of %s=…", text, strings.Join(FilterKeys, "=…, "))
		}
		var err error
		switch key {
		case "name":
			_, err = path.Match(value, "")
		case "layer":
			_, err = strconv.Atoi(value)
		case "base":
			_, err = strconv.ParseBool(value)
		}
		if err != nil {
			return nil, fmt.Errorf("--filter %s: the value is no %s", text, map[string]string{"name": "pattern", "layer": "number of a layer", "base": "true or false"}[key])
		}
		f[key] = append(f[key], value)
	}
	return f, nil
}

// Matches says whether a package is asked for.
func (f Filter) Matches(p *Package) bool {
	for key, values := range f {
		matches := func(value string) bool {
			switch key {
			case "type":
				return value == p.Manager || value == purlTypes[p.Manager]
			case "name":
				short := p.Name[strings.LastIndexByte(p.Name, '/')+1:]
				ok, _ := path.Match(value, short)
				whole, _ := path.Match(value, p.Name)
				return ok || whole || value == p.Name
			case "ecosystem":
				return value == p.Ecosystem || strings.HasPrefix(p.Ecosystem, value+":")
			case "layer":
				return value == strconv.Itoa(p.Layer.Layer)
			}
			base, _ := strconv.ParseBool(value)
			return base == p.Layer.Base
		}
		if !slices.ContainsFunc(values, matches) {
			return false
		}
	}
	return true
}

// Keep leaves those packages in the inventory that a filter lets through.
func (inv *Inventory) Keep(f Filter) {
	if len(f) > 0 {
		inv.Packages = slices.DeleteFunc(inv.Packages, func(p Package) bool { return !f.Matches(&p) })
	}
}
