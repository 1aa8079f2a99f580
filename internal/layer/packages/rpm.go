package packages

import (
	"io"
	"strings"

	"github.com/strata-build/strata/internal/layer/packages/rpmdb"
)

// readRPM reads RPM's database, all of it at once: it points from anywhere to anywhere.
func readRPM(in *input) ([]Package, error) {
	db, err := in.all()
	if err != nil {
		return nil, err
	}
	var list []Package
	err = rpmdb.Packages(db, func(h rpmdb.Package) {
		p := Package{Manager: "rpm", Name: h.Name, Version: h.Version, Details: Details{Architecture: h.Architecture, Licence: h.Licence}}
		// SOURCERPM is NAME-VERSION-RELEASE.src.rpm, and neither version nor release has a hyphen.
		rest, release := cutLast(strings.TrimSuffix(strings.TrimSuffix(h.Source, ".src.rpm"), ".nosrc.rpm"), "-")
		if name, version := cutLast(rest, "-"); name != "" {
			if name != h.Name {
				p.Source = name
			}
			if own := h.Version[strings.IndexByte(h.Version, ':')+1:]; version+"-"+release != own {
				p.SourceVersion = version + "-" + release
			}
		}
		list = append(list, p)
	})
	return list, err
}

// RPMFiles calls found for each file of the packages that RPM's database lists. A path is as in layer.Entry. Of a database that
// makes no sense those files come that can be told; an error is one of reading r.
func RPMFiles(r io.Reader, found func(owner, path string)) error {
	in := &input{r: newReader(r, maxFile)}
	db, err := in.all()
	if in.r.err != nil || err != nil {
		return in.r.err // one that is too large was named when its packages were read
	}
	_ = rpmdb.Packages(db, func(p rpmdb.Package) {
		for path := range p.Files() {
			found(p.Name, path)
		}
	})
	return nil
}

// cutLast cuts a text at the last sep; before is "" if there is none.
func cutLast(text, sep string) (before, after string) {
	if i := strings.LastIndex(text, sep); i >= 0 {
		return text[:i], text[i+len(sep):]
	}
	return "", text
}
