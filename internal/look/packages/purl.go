package packages

import (
	"cmp"
	"strings"

	"github.com/strata-build/strata/internal/layer/packages"
)

// purlTypes are package-url's types (github.com/package-url/purl-spec, types) by manager.
var purlTypes = map[string]string{
	"dpkg": "deb", "apk": "apk", "rpm": "rpm", "python": "pypi", "npm": "npm", "go": "golang", "java": "maven", "ruby": "gem",
	"php": "composer", "rust": "cargo",
}

// ManagerOf is the manager of a package-url's package, "" if strata knows none.
func ManagerOf(purl string) string {
	typ, _, _ := strings.Cut(strings.TrimPrefix(purl, "pkg:"), "/")
	for manager, t := range purlTypes {
		if t == typ && strings.HasPrefix(purl, "pkg:") {
			return manager
		}
	}
	return ""
}

// purl is a package's package-url: pkg:deb/debian/libc6@2.36-9?arch=amd64&distro=debian-12.
func purl(p packages.Package, d *Distribution) string {
	typ := cmp.Or(purlTypes[p.Manager], "generic")
	namespace, name, version := "", p.Name, p.Version
	qualifiers := map[string]string{}
	switch typ {
	case "deb", "apk", "rpm":
		qualifiers["arch"] = p.Architecture
		if d != nil {
			namespace = d.ID
			qualifiers["distro"] = strings.TrimSuffix(d.ID+"-"+d.Version, "-")
		}
		if p.Source != "" {
			qualifiers["upstream"] = p.Source
			if p.SourceVersion != "" {
				qualifiers["upstream"] += "@" + p.SourceVersion
			}
		}
		if epoch, rest, ok := strings.Cut(version, ":"); ok && typ == "rpm" {
			qualifiers["epoch"], version = epoch, rest
		}
	case "pypi":
		name = strings.ReplaceAll(strings.ToLower(name), "_", "-")
	case "golang":
		namespace, name = cutName(strings.ToLower(name))
	case "npm", "composer":
		namespace, name = cutName(strings.ToLower(name))
	case "maven":
		if group, artifact, ok := strings.Cut(name, ":"); ok {
			namespace, name = group, artifact
		}
	case "gem":
		if p.Architecture != "ruby" {
			qualifiers["platform"] = p.Architecture
		}
	}
	var b strings.Builder
	b.WriteString("pkg:" + typ + "/")
	if namespace != "" {
		for part := range strings.SplitSeq(namespace, "/") {
			b.WriteString(escape(part) + "/")
		}
	}
	b.WriteString(escape(name))
	if version != "" {
		b.WriteString("@" + escape(version))
	}
	sep := "?"
	for _, key := range []string{"arch", "distro", "epoch", "platform", "upstream"} { // in the order of the alphabet
		if qualifiers[key] != "" {
			b.WriteString(sep + key + "=" + escape(qualifiers[key]))
			sep = "&"
		}
	}
	return b.String()
}

func cutName(name string) (namespace, rest string) {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		return name[:i], name[i+1:]
	}
	return "", name
}

// escape escapes all but letters, digits and ".-_~:" (purl-spec, "Character encoding").
func escape(text string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(text) {
		switch c := text[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte(".-_~:", c) >= 0:
			b.WriteByte(c)
		default:
			b.WriteString(string([]byte{'%', hex[c>>4], hex[c&15]}))
		}
	}
	return b.String()
}
