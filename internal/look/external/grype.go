package external

import (
	"cmp"
	"encoding/json"
	"time"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/look/vulnerability"
)

// grypeDocument is the part of grype's JSON that is read (grype/presenter/models).
type grypeDocument struct {
	Matches []struct {
		Vulnerability struct {
			ID          string
			DataSource  string
			Severity    string
			Description string
			CVSS        []struct{ Vector string }
			Fix         struct{ Versions []string }
		}
		RelatedVulnerabilities []struct{ ID string }
		Artifact               syftArtifact
	}
	Descriptor struct {
		Version string
		DB      struct {
			Built  string                 // when the advisories were put together, until version 0.87
			Status struct{ Built string } // since
		}
	}
}

// readGrype reads what grype says (-o json).
func readGrype(output []byte) (*said, error) {
	var d grypeDocument
	if err := json.Unmarshal(output, &d); err != nil {
		return nil, err
	}
	out := &said{}
	if built, err := time.Parse(time.RFC3339, cmp.Or(d.Descriptor.DB.Status.Built, d.Descriptor.DB.Built)); err == nil {
		out.source = vulnerability.Source{Name: "grype " + d.Descriptor.Version, Imported: built}
	}
	for i := range d.Matches {
		v, a := &d.Matches[i].Vulnerability, d.Matches[i].Artifact.convert()
		if v.ID == "" || a.Name == "" {
			continue
		}
		m := match{artifact: a, advisory: vulnerability.Advisory{ID: v.ID, Summary: human.Shorten(firstLine(v.Description), 300), URL: v.DataSource}}
		for _, related := range d.Matches[i].RelatedVulnerabilities {
			if related.ID != v.ID {
				m.advisory.Aliases = append(m.advisory.Aliases, related.ID)
			}
		}
		var vectors []string
		for _, c := range v.CVSS {
			vectors = append(vectors, c.Vector)
		}
		m.advisory.Severity = vulnerability.Rate(v.Severity, vectors...)
		if len(v.Fix.Versions) > 0 {
			m.fixed = v.Fix.Versions[0]
		}
		out.matches = append(out.matches, m)
	}
	return out, nil
}
