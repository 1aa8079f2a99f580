package external

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/look/vulnerability"
)

// trivyDocument is the part of trivy's JSON that is read (pkg/types, report.go and vulnerability.go).
type trivyDocument struct {
	Results []struct {
		Target, Type    string
		Vulnerabilities []trivyVulnerability
	}
}

type trivyVulnerability struct {
	VulnerabilityID  string
	VendorIDs        []string
	PkgName          string
	PkgPath          string
	PkgIdentifier    struct{ PURL string }
	InstalledVersion string
	FixedVersion     string // several with commas between them
	Severity         string
	Title            string
	Description      string
	PrimaryURL       string
	Layer            struct{ DiffID digest.Digest }
	LastModifiedDate time.Time
	CVSS             map[string]struct{ V3Vector, V40Vector, V2Vector string }
}

// readTrivy reads what trivy says (--format json).
func readTrivy(output []byte) (*said, error) {
	var d trivyDocument
	if err := json.Unmarshal(output, &d); err != nil {
		return nil, err
	}
	out := &said{}
	for i := range d.Results {
		r := &d.Results[i]
		for j := range r.Vulnerabilities {
			v := &r.Vulnerabilities[j]
			if v.VulnerabilityID == "" || v.PkgName == "" {
				continue
			}
			m := match{artifact: newArtifact(v.PkgIdentifier.PURL, r.Type, v.PkgName, v.InstalledVersion)}
			m.path, m.layer = cmp.Or(v.PkgPath, r.Target), v.Layer.DiffID
			m.fixed, _, _ = strings.Cut(v.FixedVersion, ", ")
			m.advisory = vulnerability.Advisory{
				ID: v.VulnerabilityID, Aliases: v.VendorIDs, URL: v.PrimaryURL, Modified: v.LastModifiedDate,
				Summary: human.Shorten(cmp.Or(v.Title, firstLine(v.Description)), 300), Severity: vulnerability.Rate(v.Severity, v.vectors()...),
			}
			out.matches = append(out.matches, m)
		}
	}
	return out, nil
}

// vectors are the CVSS vectors, in the order of those who give them.
func (v *trivyVulnerability) vectors() (all []string) {
	for _, source := range slices.Sorted(maps.Keys(v.CVSS)) {
		c := v.CVSS[source]
		for _, vector := range []string{c.V3Vector, c.V40Vector, c.V2Vector} {
			if vector != "" {
				all = append(all, vector)
			}
		}
	}
	return all
}

// firstLine is what a description begins with.
func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}
