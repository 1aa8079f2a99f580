package external

import (
	"cmp"
	"encoding/json"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer/packages"
	lookpackages "github.com/strata-build/strata/internal/look/packages"
)

// syftArtifact is the part of a package in the JSON of syft and grype that is read (syft/format/syftjson/model, package.go).
type syftArtifact struct {
	Name      string
	Version   string
	Type      string
	PURL      string
	Locations []struct {
		Path    string
		LayerID digest.Digest
	}
	Licenses []json.RawMessage
	Metadata json.RawMessage // whose form depends on the type
}

// readSyft reads what syft says (-o json).
func readSyft(output []byte) (*said, error) {
	var d struct{ Artifacts []syftArtifact }
	if err := json.Unmarshal(output, &d); err != nil {
		return nil, err
	}
	out := &said{}
	for i := range d.Artifacts {
		if a := &d.Artifacts[i]; a.Name != "" {
			out.artifacts = append(out.artifacts, a.convert())
		}
	}
	return out, nil
}

func (s *syftArtifact) convert() artifact {
	a := newArtifact(s.PURL, s.Type, s.Name, s.Version)
	if len(s.Locations) > 0 {
		a.path, a.layer = s.Locations[0].Path, s.Locations[0].LayerID
	}
	var m struct{ Architecture, Source, SourceVersion, OriginPackage string }
	if json.Unmarshal(s.Metadata, &m) == nil {
		a.Architecture, a.SourceVersion = m.Architecture, m.SourceVersion
		a.Source = cmp.Or(m.Source, m.OriginPackage)
	}
	a.Licence = licences(s.Licenses)
	return a
}

// licences joins licences, which earlier versions of syft give as texts and later ones as objects.
func licences(list []json.RawMessage) string {
	var all []string
	for _, raw := range list {
		var text string
		if json.Unmarshal(raw, &text) != nil {
			var object struct{ Value, SPDXExpression string }
			if json.Unmarshal(raw, &object) != nil {
				continue
			}
			text = cmp.Or(object.SPDXExpression, object.Value)
		}
		if text != "" {
			all = append(all, text)
		}
	}
	return strings.Join(all, " AND ")
}

// newArtifact is a package as strata would name it: its manager is told by the package-url, and its name is Java's
// GROUP:ARTIFACT.
func newArtifact(purl, kind, name, version string) artifact {
	manager := lookpackages.ManagerOf(purl)
	if manager == "" {
		manager = cmp.Or(kind, "unknown")
	}
	if rest, ok := strings.CutPrefix(purl, "pkg:maven/"); ok && !strings.Contains(name, ":") {
		if group, _, ok := strings.Cut(rest, "/"); ok {
			name = group + ":" + name
		}
	}
	return artifact{Package: packages.Package{Manager: manager, Name: name, Version: version}, purl: purl}
}
