package address

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
)

// query sets what the part of the address behind the question mark says. Each name stands there once, and nothing
// contradicts another or the fragment.
func (r *Repository) query(values url.Values) error {
	tag, branch := "", ""
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if len(values[name]) > 1 {
			return fmt.Errorf("%s=… is given twice", name)
		}
		value := values.Get(name)
		var err error
		switch name {
		case "ref":
			err = setOnce(&r.Ref, name, value)
		case "tag":
			tag = value
		case "branch":
			branch = value
		case "subdir":
			err = setOnce(&r.Subdir, name, strings.Trim(path.Clean("/"+value), "/"))
		case "checksum", "commit":
			err = setOnce(&r.Checksum, name, value)
		case "keep-git-dir":
			r.KeepGitDir, err = flag(name, value)
		case "submodules":
			r.Submodules, err = flag(name, value)
		case "fetch-by-commit":
			var by *bool
			if by, err = flag(name, value); err == nil {
				r.ByCommit = *by
			}
		case "mtime":
			if value != "checkout" && value != "commit" {
				err = fmt.Errorf("mtime=%s: it takes checkout or commit", value)
			}
			r.CommitTime = value == "commit"
		default:
			err = fmt.Errorf("unknown query %q: there are ref, tag, branch, commit, checksum, subdir, keep-git-dir, submodules, mtime and fetch-by-commit", name)
		}
		if err == nil && value == "" && !slices.Contains([]string{"keep-git-dir", "submodules", "fetch-by-commit"}, name) {
			err = fmt.Errorf("%s= has no value", name)
		}
		if err != nil {
			return err
		}
	}
	if tag != "" && branch != "" {
		return errors.New("it names a tag and a branch; leave one away")
	}
	if tag != "" {
		return setOnce(&r.Ref, "tag", withPrefix("refs/tags/", tag))
	}
	if branch != "" {
		return setOnce(&r.Ref, "branch", withPrefix("refs/heads/", branch))
	}
	return nil
}

func setOnce(to *string, name, value string) error {
	if *to != "" && *to != value {
		return fmt.Errorf("%s=%s contradicts %s", name, value, *to)
	}
	*to = value
	return nil
}

func flag(name, value string) (*bool, error) {
	on := true
	if value == "" {
		return &on, nil
	}
	on, err := strconv.ParseBool(value)
	if err != nil {
		return nil, fmt.Errorf("%s=%s: it takes true or false", name, value)
	}
	return &on, nil
}

func withPrefix(prefix, name string) string {
	if strings.HasPrefix(name, prefix) {
		return name
	}
	return prefix + name
}
