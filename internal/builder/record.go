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

// newBuild is the build that begins, as it will be remembered.
func newBuild(o Options) *explain.Build {
	b := &explain.Build{ID: newBuildID(), Started: time.Now(), Target: o.Target, Engine: o.Engine.Name}
	b.Context, b.Dockerfile = place(o)
	if o.Engine.File.BuildKitArgs {
		b.Name = o.Args["BUILDKIT_BUILD_NAME"]
	}
	for _, t := range o.Tags {
		b.Tags = append(b.Tags, reference.FamiliarString(t))
	}
	return b
}

// newBuildID makes the ID of a build: as many digits as a shown image ID.
func newBuildID() string {
	var id [6]byte
	rand.Read(id[:]) // never fails (crypto/rand)
	return hex.EncodeToString(id[:])
}

// place names the context and the Dockerfile, that one by its path in the context where it is there.
func place(o Options) (dir, file string) {
	file = findDockerfile(o)
	if o.Context == "-" {
		return "-", file
	}
	if source, err := address.ParseContext(o.Context); err == nil && source != nil {
		return source.String(), address.Redact(o.Dockerfile)
	}
	dir, err := filepath.Abs(o.Context)
	if err != nil {
		return o.Context, file
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
