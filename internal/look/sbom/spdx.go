package sbom

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/strata-build/strata/internal/look/packages"
)

// The part of SPDX 2.3 (spdx.github.io/spdx-spec/v2.3) that is written.
type (
	spdxDocument struct {
		Version       string             `json:"spdxVersion"`
		DataLicense   string             `json:"dataLicense"`
		ID            string             `json:"SPDXID"`
		Name          string             `json:"name"`
		Namespace     string             `json:"documentNamespace"`
		Creation      spdxCreation       `json:"creationInfo"`
		Packages      []spdxPackage      `json:"packages"`
		Relationships []spdxRelationship `json:"relationships"`
		Licences      []spdxLicence      `json:"hasExtractedLicensingInfos,omitempty"`
	}
	spdxCreation struct {
		Created  string   `json:"created"`
		Creators []string `json:"creators"`
	}
	spdxPackage struct {
		ID        string          `json:"SPDXID"`
		Name      string          `json:"name"`
		Version   string          `json:"versionInfo,omitempty"`
		Location  string          `json:"downloadLocation"`
		Analyzed  bool            `json:"filesAnalyzed"`
		Purpose   string          `json:"primaryPackagePurpose,omitempty"`
		Source    string          `json:"sourceInfo,omitempty"`
		Concluded string          `json:"licenseConcluded"`
		Declared  string          `json:"licenseDeclared"`
		Copyright string          `json:"copyrightText"`
		Checksums []spdxChecksum  `json:"checksums,omitempty"`
		Refs      []spdxReference `json:"externalRefs,omitempty"`
	}
	spdxChecksum struct {
		Algorithm string `json:"algorithm"`
		Value     string `json:"checksumValue"`
	}
	spdxReference struct {
		Category string `json:"referenceCategory"`
		Type     string `json:"referenceType"`
		Locator  string `json:"referenceLocator"`
	}
	spdxRelationship struct {
		Element string `json:"spdxElementId"`
		Type    string `json:"relationshipType"`
		Related string `json:"relatedSpdxElement"`
	}
	spdxLicence struct {
		ID   string `json:"licenseId"`
		Text string `json:"extractedText"`
		Name string `json:"name"`
	}
)

const noAssertion = "NOASSERTION"

// SPDX is the bill of materials of an image as an SPDX 2.3 document: the image, and the packages that it contains.
func SPDX(inv *packages.Inventory, a About) any {
	const document, image = "SPDXRef-DOCUMENT", "SPDXRef-Image"
	d := &spdxDocument{
		Version: "SPDX-2.3", DataLicense: "CC0-1.0", ID: document, Name: inv.Image,
		Namespace: "urn:uuid:" + uuid(identity(inv), "spdx"),
		Creation:  spdxCreation{a.time(), []string{"Tool: strata-" + cmp.Or(a.Version, "unknown")}},
		Packages: []spdxPackage{{
			ID: image, Name: inv.Image, Version: string(inv.ID), Location: noAssertion, Purpose: "CONTAINER", Concluded: noAssertion, Declared: noAssertion,
			Copyright: noAssertion,
		}},
		Relationships: []spdxRelationship{{document, "DESCRIBES", image}},
	}
	if inv.ID == "" {
		d.Packages[0].Purpose = "SOURCE"
	} else {
		d.Packages[0].Checksums = []spdxChecksum{{"SHA256", inv.ID.Encoded()}}
	}
	licences := map[string]string{}
	for i := range inv.Packages {
		p := &inv.Packages[i]
		one := spdxPackage{
			ID: fmt.Sprintf("SPDXRef-Package-%s-%d", p.Manager, i+1), Name: p.Name, Version: p.Version, Location: noAssertion, Source: origin(p),
			Concluded: noAssertion, Declared: noAssertion, Copyright: noAssertion, Refs: []spdxReference{{"PACKAGE-MANAGER", "purl", p.PURL}},
		}
		switch text := strings.TrimSpace(p.Licence); {
		case text == "":
		case expression(text):
			one.Declared = text
		default:
			one.Declared = reference(text)
			licences[one.Declared] = text
		}
		d.Packages = append(d.Packages, one)
		d.Relationships = append(d.Relationships, spdxRelationship{image, "CONTAINS", one.ID})
	}
	for id, text := range licences {
		d.Licences = append(d.Licences, spdxLicence{id, text, text})
	}
	slices.SortFunc(d.Licences, func(a, b spdxLicence) int { return cmp.Compare(a.ID, b.ID) })
	return d
}
