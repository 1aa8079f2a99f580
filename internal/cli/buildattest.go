package cli

import (
	"fmt"
	"os"
	"strconv"

	"github.com/strata-build/strata/internal/builder/attest"
	"github.com/strata-build/strata/internal/look/sbom"
)

// attestations are what is to be attested of the images: what the configuration says, unless buildx's
// BUILDX_NO_DEFAULT_ATTESTATIONS is set, then --attest in its order, then --provenance and --sbom.
func (f *outputFlags) attestations() (attest.Options, error) {
	var o attest.Options
	if off, err := strconv.ParseBool(os.Getenv("BUILDX_NO_DEFAULT_ATTESTATIONS")); err != nil || !off {
		c, err := loadConfig()
		if err != nil {
			return o, err
		}
		for _, kind := range []struct{ name, value string }{{"provenance", c.Provenance}, {"sbom", c.SBOM}} {
			if kind.value == "" {
				continue
			}
			if err := o.SetKind(kind.name, kind.value); err != nil {
				return o, fmt.Errorf("reading the configuration: %s = %q: %w", kind.name, kind.value, err)
			}
		}
	}
	for _, text := range f.attests {
		if err := o.Set(text); err != nil {
			return o, usageError("--attest %q: %w", text, err)
		}
	}
	for _, kind := range []struct{ name, value string }{{"provenance", f.provenance}, {"sbom", f.sbom}} {
		if kind.value == "" {
			continue
		}
		if err := o.SetKind(kind.name, kind.value); err != nil {
			return o, usageError("--%s %q: %w", kind.name, kind.value, err)
		}
	}
	if on, err := strconv.ParseBool(os.Getenv("BUILDX_GIT_INFO")); err == nil && !on && o.Provenance != nil {
		o.Provenance.NoVCS = true
	}
	return o, nil
}

// metadataProvenance is buildx's variable that says how much of the provenance --metadata-file has: min, max or disabled.
const metadataProvenance = "BUILDX_METADATA_PROVENANCE"

// record asks for the provenance in the file of --metadata-file, as buildx does: with the attributes of the one that is
// attested, if one is.
func record(o *attest.Options) {
	mode := os.Getenv(metadataProvenance)
	if on, err := strconv.ParseBool(mode); mode == "disabled" || err == nil && !on {
		return
	}
	o.Metadata = &attest.ProvenanceOptions{}
	if o.Provenance != nil {
		*o.Metadata = *o.Provenance
	}
	o.Metadata.Max = mode == "max"
	if on, err := strconv.ParseBool(os.Getenv("BUILDX_GIT_INFO")); !o.Metadata.Max || err == nil && !on {
		o.Metadata.NoVCS = true
	}
}

// equip gives what is to be attested what only the program knows: its version, and who reads packages.
func (a *app) equip(o *attest.Options) {
	if o.Metadata != nil {
		o.Metadata.Version = a.version
	}
	if o.Provenance != nil {
		o.Provenance.Version = a.version
	}
	if o.SBOM != nil {
		o.SBOM.Scanner = sbom.Scanner{Version: a.version}
	}
}
