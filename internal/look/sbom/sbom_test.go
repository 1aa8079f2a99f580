package sbom

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/look/packages"
)

func inventory() *packages.Inventory {
	inv := &packages.Inventory{Image: "me/app:1", ID: digest.FromString("x"), Distribution: &packages.Distribution{ID: "debian", Version: "12"}}
	for _, p := range [][4]string{{"dpkg", "libc6", "2.36-9", ""}, {"npm", "@a/b", "1.0.0", "MIT OR (Apache-2.0 AND ISC)"}, {"java", "org.a:b", "1.0", "BSD"}, {"python", "x", "1", "Own licence"}} {
		one := packages.Package{PURL: "pkg:" + p[0] + "/" + p[1], Path: "/" + p[0]}
		one.Manager, one.Name, one.Version, one.Licence = p[0], p[1], p[2], p[3]
		one.Layer.Layer, one.Layer.Instruction = 1, "RUN x"
		inv.Packages = append(inv.Packages, one)
	}
	return inv
}

func text(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestDocuments(t *testing.T) {
	a := About{Version: "1.0", Created: time.Unix(1_700_000_000, 0)}
	spdx, cdx := text(t, SPDX(inventory(), a)), text(t, CycloneDX(inventory(), a))
	for _, part := range []string{
		`"spdxVersion":"SPDX-2.3"`, `"created":"2023-11-14T22:13:20Z"`, `"creators":["Tool: strata-1.0"]`, `"licenseDeclared":"MIT OR (Apache-2.0 AND ISC)"`,
		`"licenseDeclared":"LicenseRef-Own-licence-`, `"extractedText":"Own licence"`, `"referenceLocator":"pkg:npm/@a/b"`,
		`"spdxElementId":"SPDXRef-Image","relationshipType":"CONTAINS","relatedSpdxElement":"SPDXRef-Package-dpkg-1"`,
	} {
		if !strings.Contains(spdx, part) {
			t.Errorf("SPDX has no %s:\n%s", part, spdx)
		}
	}
	for _, part := range []string{
		`"specVersion":"1.6"`, `"group":"org.a","name":"b"`, `"group":"@a","name":"b"`, `"licenses":[{"license":{"name":"BSD"}}]`,
		`"licenses":[{"expression":"MIT OR (Apache-2.0 AND ISC)"}]`, `{"name":"strata:instruction","value":"RUN x"}`, `"type":"operating-system"`,
	} {
		if !strings.Contains(cdx, part) {
			t.Errorf("CycloneDX has no %s:\n%s", part, cdx)
		}
	}
	if spdx != text(t, SPDX(inventory(), a)) || cdx != text(t, CycloneDX(inventory(), a)) {
		t.Error("the same image gives other bytes")
	}
}

func TestExpression(t *testing.T) {
	for licence, want := range map[string]bool{
		"MIT": true, "MIT AND ISC": true, "(MIT OR ISC) AND Zlib": true, "MIT ISC": false, "MIT AND": false, "(MIT": false, "MIT)": false, "": false,
		"GPLv2+": false, "MIT License": false, "AND": false, "()": false,
	} {
		if expression(licence) != want {
			t.Errorf("%q: %v", licence, !want)
		}
	}
}

func FuzzLicence(f *testing.F) {
	f.Add("MIT OR (Apache-2.0 AND ISC)")
	f.Fuzz(func(t *testing.T, licence string) {
		expression(licence)
		if r := reference(licence); len(r) > 80 || strings.Trim(r, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") != "" {
			t.Errorf("%q is no reference", r)
		}
	})
}
