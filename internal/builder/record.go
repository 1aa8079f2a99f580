package builder

import (
	"crypto/rand"
	"encoding/hex"
	"path/filepath"
	"time"

	"github.com/distribution/reference"

	"github.com/strata-build/strata/internal/builder/explain"
	"github.com/strata-build/strata/internal/builder/source/address"
)

// record is the build that begins, as it will be remembered.
func (b *build) record() *explain.Build {
	r := &explain.Build{ID: newBuildID(), Started: time.Now(), Target: b.Target.Stage, Engine: b.Target.Dialect.Name}
	r.Context, r.Dockerfile = place(&b.Source)
	r.Dir = explain.WorkingDir()
	if b.Target.Dialect.File.BuildKitArgs {
		r.Name = b.Target.Args["BUILDKIT_BUILD_NAME"]
	}
	for _, t := range b.Output.Tags {
		r.Tags = append(r.Tags, reference.FamiliarString(t))
	}
	return r
}

// newBuildID makes the ID of a build: as many digits as a shown image ID.
func newBuildID() string {
	var id [6]byte
	rand.Read(id[:]) // never fails (crypto/rand)
	return hex.EncodeToString(id[:])
}

// place names the context and the Dockerfile, that one by its path in the context where it is there.
func place(s *Source) (dir, file string) {
	file = findDockerfile(s)
	if s.Context == "-" {
		return "-", file
	}
	if source, err := address.ParseContext(s.Context); err == nil && source != nil {
		return source.String(), address.Redact(s.Dockerfile)
	}
	dir, err := filepath.Abs(s.Context)
	if err != nil {
		return s.Context, file
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	if file == "-" || isURL(file) {
		return dir, address.Redact(file)
	}
	abs, err := filepath.Abs(file)
	if err != nil {
		return dir, file
	}
	if real, err := filepath.EvalSymlinks(filepath.Dir(abs)); err == nil {
		abs = filepath.Join(real, filepath.Base(abs))
	}
	if rel, err := filepath.Rel(dir, abs); err == nil && filepath.IsLocal(rel) {
		return dir, rel
	}
	return dir, abs
}
