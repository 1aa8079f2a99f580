package cli

import (
	"encoding/csv"
	"fmt"
	"strconv"
	"strings"
)

// attestations warns about each kind of attestation that is asked for, since none is made. One that
// is turned off, such as --provenance=false, gives no warning.
func (f *outputFlags) attestations() (warnings []string, err error) {
	asked := map[string]bool{}
	for _, text := range f.attests {
		if err := readAttest(text, asked); err != nil {
			return nil, usageError("--attest %q: %w", text, err)
		}
	}
	for kind, value := range map[string]string{"provenance": f.provenance, "sbom": f.sbom} {
		if value == "" {
			continue
		}
		on, err := strconv.ParseBool(value)
		if err != nil { // attributes: mode=max
			on = true
			if err := readAttest("type="+kind+","+value, asked); err != nil {
				return nil, usageError("--%s %q: %w", kind, value, err)
			}
		}
		asked[kind] = on
	}
	if asked["provenance"] {
		warnings = append(warnings, "no provenance attestation is made: strata cannot do that yet; strata builds show tells how an image was built here")
	}
	if asked["sbom"] {
		warnings = append(warnings, "no SBOM attestation is made: strata has no scanner")
	}
	return warnings, nil
}

// readAttest reads an --attest: type=provenance,mode=max or type=sbom,disabled=true.
func readAttest(text string, asked map[string]bool) error {
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		return err
	}
	kind, on := "", true
	for _, field := range fields {
		name, value, ok := strings.Cut(field, "=")
		if !ok {
			return fmt.Errorf("%q is not NAME=VALUE", field)
		}
		switch name {
		case "type":
			kind = value
		case "disabled":
			off, err := strconv.ParseBool(value)
			if err != nil {
				return fmt.Errorf("disabled=%s: it is true or false", value)
			}
			on = !off
		}
	}
	if kind != "provenance" && kind != "sbom" {
		return fmt.Errorf("type=%s: it is provenance or sbom", kind)
	}
	asked[kind] = on
	return nil
}
