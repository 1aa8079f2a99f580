package packages

import (
	"cmp"
	"slices"
)

// Change is a package that is not the same in two states.
type Change struct {
	Manager string `json:"manager"`
	Name    string `json:"name"`
	// Before and After are versions, "" where the package was not there.
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

// String is as people write it: "pip 23.0.1 → 24.2", "+ six 1.16.0", "- six 1.16.0".
func (c Change) String() string {
	switch {
	case c.Before == "":
		return "+ " + c.Name + " " + c.After
	case c.After == "":
		return "- " + c.Name + " " + c.Before
	}
	return c.Name + " " + c.Before + " → " + c.After
}

// Compare tells how two listings differ. A package with one version on either side was changed; of one with several,
// those versions that went and came are told one by one. Of a manager whose list could not be read on either side
// nothing is told.
func Compare(a, b Listing) []Change {
	before, after := a.Packages, b.Packages
	for _, u := range slices.Concat(a.Unread, b.Unread) {
		of := func(p Package) bool { return p.Manager == u.Manager }
		before, after = slices.DeleteFunc(slices.Clone(before), of), slices.DeleteFunc(slices.Clone(after), of)
	}
	var out []Change
	for len(before) > 0 || len(after) > 0 {
		first := firstOf(before, after)
		var old, made []string
		old, before = take(before, first)
		made, after = take(after, first)
		old, made = without(old, made), without(made, old)
		if len(old) == 1 && len(made) == 1 {
			out = append(out, Change{first.Manager, first.Name, old[0], made[0]})
			continue
		}
		for _, v := range old {
			out = append(out, Change{first.Manager, first.Name, v, ""})
		}
		for _, v := range made {
			out = append(out, Change{first.Manager, first.Name, "", v})
		}
	}
	return out
}

// firstOf is the package that comes first in either list, without its version.
func firstOf(a, b []Package) Package {
	if len(a) == 0 || len(b) > 0 && compareNames(b[0], a[0]) < 0 {
		return b[0]
	}
	return a[0]
}

func compareNames(a, b Package) int {
	return cmp.Or(cmp.Compare(a.Manager, b.Manager), cmp.Compare(a.Name, b.Name))
}

// take takes the versions of a package off the front of a list.
func take(list []Package, p Package) (versions []string, rest []Package) {
	for len(list) > 0 && compareNames(list[0], p) == 0 {
		versions = append(versions, list[0].Version)
		list = list[1:]
	}
	return versions, list
}

// without is list without what others has, too.
func without(list, others []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(v string) bool { return slices.Contains(others, v) })
}
