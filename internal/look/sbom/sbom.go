// Package sbom writes what an image has installed as a software bill of materials: an SPDX 2.3 document or a CycloneDX 1.6 one, in
// JSON. The same image gives the same bytes, whenever and wherever it is done.
package sbom

import (
	"fmt"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/look/packages"
)

// About is what a document says of itself.
type About struct {
	Version string    // strata's
	Created time.Time // of the image, or SOURCE_DATE_EPOCH; a document says when it was made to the second
}

func (a About) time() string { return a.Created.UTC().Format(time.RFC3339) }

// identity tells the image from all others, or a tree by the packages that it has.
func identity(inv *packages.Inventory) digest.Digest {
	if inv.ID != "" {
		return inv.ID
	}
	var text strings.Builder
	for i := range inv.Packages {
		text.WriteString(inv.Packages[i].PURL + " " + inv.Packages[i].Path + "\n")
	}
	return digest.FromString(inv.Image + "\n" + text.String())
}

// uuid makes an identifier of an image out of its ID, in the form of RFC 9562 for those that a hash gives (version 8).
func uuid(id digest.Digest, kind string) string {
	sum := digest.FromString(kind + " " + string(id)).Encoded()
	return fmt.Sprintf("%s-%s-8%s-a%s-%s", sum[:8], sum[8:12], sum[13:16], sum[17:20], sum[20:32])
}

// origin is a sentence about where a package comes from: of a tree without layers, the file.
func origin(p *packages.Package) string {
	if p.Layer.Layer == 0 {
		return p.Path
	}
	return fmt.Sprintf("%s, layer %d (%s): %s", p.Path, p.Layer.Layer, p.Layer.DiffID, p.Layer.Instruction)
}

// group is the part of a package's name that CycloneDX and package-url keep apart: a scope, a vendor, a group of Maven.
func group(p *packages.Package) (group, name string) {
	switch p.Manager {
	case "java":
		if g, n, ok := strings.Cut(p.Name, ":"); ok {
			return g, n
		}
	case "npm", "php":
		if i := strings.LastIndexByte(p.Name, '/'); i > 0 {
			return p.Name[:i], p.Name[i+1:]
		}
	}
	return "", p.Name
}
