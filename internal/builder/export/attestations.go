package export

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path"

	"github.com/strata-build/strata/internal/builder/attest"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/transfer"
)

// nameOf is the file that an attestation is in beside the files of a result: provenance.json, sbom.spdx.json, sbom-build.spdx.json,
// as BuildKit and its scanner name them.
func nameOf(a *transfer.Attestation) string {
	if a.Type == attest.SPDXType {
		return cmp.Or(a.Name, "sbom") + ".spdx.json"
	}
	return "provenance.json"
}

// attestationFile is a file of a result with a statement about all others.
type attestationFile struct {
	entry *layer.Entry
	data  []byte
}

// open reads the file.
func (f *attestationFile) open(context.Context, *layer.Entry) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(f.data)), nil
}

// attestationFiles are the files with what is attested of the image. Their subjects are the image's regular files.
func (x *exporter) attestationFiles(s *Spec, img *Image, tree *layer.TOC) ([]*attestationFile, error) {
	if len(img.Attestations) == 0 {
		return nil, nil
	}
	modified := image.Created(img.Config)
	if epoch := s.Packing.epochOr(x.o.Epoch); epoch != nil {
		modified = *epoch
	}
	var subjects []transfer.Subject
	for _, e := range tree.Entries {
		if e.Type == layer.File && e.Digest != "" {
			subjects = append(subjects, transfer.Subject{Name: e.Path, Digest: transfer.DigestSet(e.Digest)})
		}
	}
	var files []*attestationFile
	for _, a := range img.Attestations {
		if a.Inline {
			continue
		}
		name := s.AttestationPrefix + nameOf(&a)
		if tree.Lookup(name) != nil {
			return nil, fmt.Errorf("the result has a file %s itself; give the attestation's another name with attestation-prefix=", name)
		}
		data, err := json.MarshalIndent(transfer.NewStatement(a, subjects), "", "  ")
		if err != nil {
			return nil, fmt.Errorf("making the attestation %s: %w", a.Type, err)
		}
		data = append(data, '\n')
		files = append(files, &attestationFile{&layer.Entry{
			Path: path.Clean(name), Type: layer.File, Mode: 0o644, Size: int64(len(data)), ModTime: modified.Unix(),
		}, data})
	}
	return files, nil
}
