package mounts

import (
	"context"
	"regexp"
)

// A volume is a directory with a name that strata run shows and keeps, as docker's named volumes. It rests as a cache mount
// does, under a base that no cache has; unlike a cache it is data, so it goes only when somebody removes volumes.
const volumeBase = "volume"

// VolumeName is what may be the name of a volume, as in docker.
var VolumeName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]+$`)

// Volume takes the volume of a name, or makes it. fill puts into a new one's directory what it begins with.
func (ms *Mounts) Volume(ctx context.Context, name string, fill func(dir string) error) (*Mount, error) {
	return ms.CacheMount(ctx, Options{ID: name, Base: volumeBase, Sharing: Shared, Fill: fill})
}

// Volumes lists the volumes, those used last first.
func (ms *Mounts) Volumes() ([]Use, error) { return ms.list(true) }
