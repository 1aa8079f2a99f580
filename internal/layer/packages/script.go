package packages

import (
	"encoding/json"
	"errors"
	"path"
	"regexp"
	"strings"
	"sync"
)

// maxJSON bounds the description of one package in bytes. The largest of npm have 200 KB.
const maxJSON = 4 << 20

// isNPM says that a directory is that of a package in node_modules: node_modules/NAME/, or node_modules/@SCOPE/NAME/.
func isNPM(dir string) bool {
	dir = strings.TrimSuffix(dir, "/")
	parent := path.Dir(dir)
	if base := path.Base(parent); strings.HasPrefix(base, "@") {
		parent = path.Dir(parent)
	}
	return path.Base(parent) == "node_modules" && !strings.HasPrefix(path.Base(dir), ".") && path.Base(dir) != "node_modules"
}

// readNPM reads the package.json of a package that is installed. One without a name or a version is a part of another, and
// tells of no package.
func readNPM(in *input) ([]Package, error) {
	in.limit(maxJSON)
	data, err := in.all()
	if err != nil {
		return nil, err
	}
	var v struct {
		Name     any `json:"name"`
		Version  any `json:"version"`
		License  any `json:"license"`
		Licenses any `json:"licenses"`
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return nil, err
	}
	name, _ := v.Name.(string)
	version, _ := v.Version.(string)
	if name == "" || version == "" {
		return nil, nil
	}
	licence := licences(v.License)
	if licence == "" {
		licence = licences(v.Licenses)
	}
	return []Package{{Manager: "npm", Name: name, Version: version, Details: Details{Licence: licence}}}, nil
}

// licences reads the forms that licences have in JSON: a text, a list, or an object with a type.
func licences(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case map[string]any:
		text, _ := v["type"].(string)
		return text
	case []any:
		var all []string
		for _, one := range v {
			if text := licences(one); text != "" {
				all = append(all, text)
			}
		}
		return strings.Join(all, " OR ")
	}
	return ""
}

// readComposer reads what Composer has installed: {"packages": […]} of version 2, a list of version 1.
func readComposer(in *input) ([]Package, error) {
	data, err := in.all()
	if err != nil {
		return nil, err
	}
	type one struct {
		Name    string `json:"name"`
		Version string `json:"version"`
		License any    `json:"license"`
	}
	var v struct {
		Packages []one `json:"packages"`
	}
	if err := json.Unmarshal(data, &v); err != nil {
		if json.Unmarshal(data, &v.Packages) != nil {
			return nil, err
		}
	}
	var list []Package
	for _, p := range v.Packages {
		if p.Name == "" || p.Version == "" {
			return nil, errors.New("a package has no name or no version")
		}
		list = append(list, Package{Manager: "php", Name: p.Name, Version: p.Version, Details: Details{Licence: licences(p.License)}})
	}
	return list, nil
}

// isGemspec says that a directory is where RubyGems keeps what it installed: specifications/, or default/ in it.
func isGemspec(dir string) bool {
	dir = strings.TrimSuffix(dir, "/")
	return path.Base(dir) == "specifications" || strings.HasSuffix(dir, "specifications/default")
}

// gemAssignment matches a line of a specification that RubyGems wrote (Gem::Specification#to_ruby).
var gemAssignment = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?m)^\s*s\.(name|version|licenses?|platform) = (.*)$`)
})

// gemText matches a text of Ruby, "MIT".freeze.
var gemText = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`"([^"\\]*)"|'([^'\\]*)'`) })

// readGemspec reads the specification of a gem, which is Ruby, by the lines that RubyGems writes. Where they are not there, the
// file's name tells: rake-13.0.6.gemspec.
func readGemspec(in *input) ([]Package, error) {
	in.limit(maxJSON)
	data, err := in.all()
	if err != nil {
		return nil, err
	}
	p := Package{Manager: "ruby"}
	for _, m := range gemAssignment().FindAllStringSubmatch(string(data), 20) {
		var texts []string
		for _, t := range gemText().FindAllStringSubmatch(m[2], 20) {
			texts = append(texts, t[1]+t[2])
		}
		switch {
		case len(texts) == 0:
		case m[1] == "name":
			p.Name = texts[0]
		case m[1] == "version":
			p.Version = texts[0]
		case m[1] == "platform":
			p.Architecture = texts[0]
		default:
			p.Licence = strings.Join(texts, " OR ")
		}
	}
	if p.Name == "" || p.Version == "" {
		name, version, ok := cutVersion(strings.TrimSuffix(path.Base(in.path), ".gemspec"))
		if !ok {
			return nil, errors.New("it has no name or no version")
		}
		p.Name, p.Version = name, version
	}
	return []Package{p}, nil
}

// cutVersion cuts NAME-VERSION before the last hyphen that a digit follows, and where a version begins.
func cutVersion(stem string) (name, version string, ok bool) {
	for i := 1; i+1 < len(stem); i++ {
		if stem[i] == '-' && stem[i+1] >= '0' && stem[i+1] <= '9' {
			return stem[:i], stem[i+1:], true
		}
	}
	return "", "", false
}
