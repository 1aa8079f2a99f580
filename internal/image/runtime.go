package image

import (
	"maps"
	"slices"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
)

// Runtime is the runtime configuration of an image, the object "config" of an image config: what a container that is
// started from it runs with (OCI image spec, "Properties"), with Docker's Healthcheck, OnBuild and Shell.
type Runtime = dockerspec.DockerOCIImageConfig

// Healthcheck is how a container is found to be well or not.
type Healthcheck = dockerspec.HealthcheckConfig

// CloneRuntime returns a copy of a runtime configuration; changes to one of them do not change the
// other.
func CloneRuntime(c Runtime) Runtime {
	c.Env = slices.Clone(c.Env)
	c.Cmd = slices.Clone(c.Cmd)
	c.Entrypoint = slices.Clone(c.Entrypoint)
	c.OnBuild = slices.Clone(c.OnBuild)
	c.Shell = slices.Clone(c.Shell)
	c.ExposedPorts = maps.Clone(c.ExposedPorts)
	c.Volumes = maps.Clone(c.Volumes)
	c.Labels = maps.Clone(c.Labels)
	if c.Healthcheck != nil {
		h := *c.Healthcheck
		h.Test = slices.Clone(h.Test)
		c.Healthcheck = &h
	}
	return c
}
