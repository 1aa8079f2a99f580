package sbom

import (
	"fmt"
	"strconv"

	"github.com/strata-build/strata/internal/look/packages"
)

// The part of CycloneDX 1.6 (cyclonedx.org/docs/1.6/json) that is written.
type (
	cdxDocument struct {
		Schema       string          `json:"$schema"`
		Format       string          `json:"bomFormat"`
		Spec         string          `json:"specVersion"`
		Serial       string          `json:"serialNumber"`
		Version      int             `json:"version"`
		Metadata     cdxMetadata     `json:"metadata"`
		Components   []cdxComponent  `json:"components"`
		Dependencies []cdxDependency `json:"dependencies"`
	}
	cdxMetadata struct {
		Timestamp string       `json:"timestamp"`
		Tools     cdxTools     `json:"tools"`
		Component cdxComponent `json:"component"`
	}
	cdxTools struct {
		Components []cdxComponent `json:"components"`
	}
	cdxComponent struct {
		Type       string        `json:"type"`
		Ref        string        `json:"bom-ref,omitempty"`
		Group      string        `json:"group,omitempty"`
		Name       string        `json:"name"`
		Version    string        `json:"version,omitempty"`
		Hashes     []cdxHash     `json:"hashes,omitempty"`
		Licences   []cdxLicence  `json:"licenses,omitempty"`
		PURL       string        `json:"purl,omitempty"`
		Properties []cdxProperty `json:"properties,omitempty"`
	}
	cdxHash struct {
		Algorithm string `json:"alg"`
		Content   string `json:"content"`
	}
	cdxLicence struct {
		Licence    *cdxNamed `json:"license,omitempty"`
		Expression string    `json:"expression,omitempty"`
	}
	cdxNamed struct {
		Name string `json:"name"`
	}
	cdxProperty struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	cdxDependency struct {
		Ref  string   `json:"ref"`
		Uses []string `json:"dependsOn,omitempty"`
	}
)

// CycloneDX is the bill of materials of an image as a CycloneDX 1.6 document. The file, the layer and the instruction of a package
// are properties of it.
func CycloneDX(inv *packages.Inventory, a About) any {
	image := cdxComponent{
		Type: "container", Ref: string(inv.ID), Name: inv.Image, Version: string(inv.ID), Hashes: []cdxHash{{"SHA-256", inv.ID.Encoded()}},
	}
	d := &cdxDocument{
		Schema: "http://cyclonedx.org/schema/bom-1.6.schema.json", Format: "CycloneDX", Spec: "1.6", Version: 1,
		Serial: "urn:uuid:" + uuid(inv.ID, "cyclonedx"),
		Metadata: cdxMetadata{
			Timestamp: a.time(), Component: image,
			Tools: cdxTools{[]cdxComponent{{Type: "application", Name: "strata", Version: a.Version}}},
		},
		Components: []cdxComponent{},
	}
	contents := cdxDependency{Ref: image.Ref}
	if os := inv.Distribution; os != nil {
		c := cdxComponent{Type: "operating-system", Ref: "os:" + os.ID, Name: os.ID, Version: os.Version}
		d.Components, contents.Uses = append(d.Components, c), append(contents.Uses, c.Ref)
	}
	for i := range inv.Packages {
		p := &inv.Packages[i]
		c := cdxComponent{
			Type: "library", Ref: fmt.Sprintf("package-%d:%s", i+1, p.PURL), Version: p.Version, PURL: p.PURL,
			Properties: []cdxProperty{
				{"strata:path", p.Path}, {"strata:layer", strconv.Itoa(p.Layer.Layer)}, {"strata:diffId", string(p.Layer.DiffID)},
				{"strata:instruction", p.Layer.Instruction}, {"strata:base", strconv.FormatBool(p.Layer.Base)},
			},
		}
		c.Group, c.Name = group(p)
		switch {
		case p.Licence == "":
		case expression(p.Licence):
			c.Licences = []cdxLicence{{Expression: p.Licence}}
		default:
			c.Licences = []cdxLicence{{Licence: &cdxNamed{p.Licence}}}
		}
		d.Components, contents.Uses = append(d.Components, c), append(contents.Uses, c.Ref)
	}
	d.Dependencies = []cdxDependency{contents}
	return d
}
