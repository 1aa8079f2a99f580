package inventory

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/strata-build/strata/internal/image"
)

// Inspection is what `inspect` shows of an image: Docker's fields, in Docker's order.
type Inspection struct {
	Id            string //nolint:revive,staticcheck // templates name the fields as the JSON does
	RepoTags      []string
	RepoDigests   []string
	Parent        string
	Comment       string
	Created       string
	DockerVersion string
	Author        string
	Config        *Runtime
	Architecture  string
	Variant       string `json:",omitempty"`
	Os            string
	OsVersion     string `json:",omitempty"`
	Size          int64  // bytes, -1 if a layer was never here
	VirtualSize   int64
	GraphDriver   GraphDriver
	RootFS        RootFS
	Metadata      Metadata
}

// RootFS are the layers.
type RootFS struct {
	Type   string
	Layers []string
}

// GraphDriver is how layers are kept. It has no directories for an image: what a container of it sees is mounted when
// one runs.
type GraphDriver struct {
	Data map[string]string
	Name string
}

// ID is Id under the name that templates for docker inspect have for it, too.
func (i *Inspection) ID() string { return i.Id }

// Metadata is what is known of the image on this machine only.
type Metadata struct{ LastTagTime time.Time }

// Runtime is the configuration for containers, with the fields that Docker shows though they mean nothing in
// an image (Docker 20.10, container.Config).
type Runtime struct {
	Hostname, Domainname, User              string
	AttachStdin, AttachStdout, AttachStderr bool
	ExposedPorts                            map[string]struct{} `json:",omitempty"`
	Tty, OpenStdin, StdinOnce               bool
	Env, Cmd                                []string
	Healthcheck                             *image.Healthcheck `json:",omitempty"`
	ArgsEscaped                             bool               `json:",omitempty"`
	Image                                   string
	Volumes                                 map[string]struct{}
	WorkingDir                              string
	Entrypoint                              []string
	NetworkDisabled                         bool   `json:",omitempty"`
	MacAddress                              string `json:",omitempty"`
	OnBuild                                 []string
	Labels                                  map[string]string
	StopSignal                              string   `json:",omitempty"`
	StopTimeout                             *int     `json:",omitempty"`
	Shell                                   []string `json:",omitempty"`
}

// Inspect describes an image.
func Inspect(img *Image) (*Inspection, error) {
	var stored struct {
		Comment       string   `json:"comment"`
		DockerVersion string   `json:"docker_version"`
		Config        *Runtime `json:"config"`
	}
	if err := json.Unmarshal(img.Data, &stored); err != nil {
		return nil, err
	}
	i := &Inspection{
		Id: string(img.ID), RepoTags: []string{}, RepoDigests: []string{}, Parent: string(img.Parent),
		Comment: stored.Comment, Created: image.Created(img.Config).Format(time.RFC3339Nano), DockerVersion: stored.DockerVersion,
		Author: img.Config.Author, Config: stored.Config, Architecture: img.Config.Architecture, Variant: img.Config.Variant,
		Os: img.Config.OS, OsVersion: img.Config.OSVersion, Size: img.Size, VirtualSize: img.Size,
		GraphDriver: GraphDriver{Name: "overlayfs"}, RootFS: RootFS{Type: "layers"},
	}
	for _, id := range img.Config.RootFS.DiffIDs {
		i.RootFS.Layers = append(i.RootFS.Layers, string(id))
	}
	if i.Config == nil {
		i.Config = &Runtime{}
	}
	if n := len(img.Config.History); i.Comment == "" && n > 0 {
		i.Comment = img.Config.History[n-1].Comment
	}
	seen := map[string]bool{}
	for _, n := range slices.Concat(img.Names, img.Others) {
		if n.Tag != "" {
			i.RepoTags = append(i.RepoTags, n.String())
		}
		if d := n.ByDigest(); d != "" && !seen[d] {
			seen[d] = true
			i.RepoDigests = append(i.RepoDigests, d)
		}
		if n.Set.After(i.Metadata.LastTagTime) {
			i.Metadata.LastTagTime = n.Set
		}
	}
	return i, nil
}
