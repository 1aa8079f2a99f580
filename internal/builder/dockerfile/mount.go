package dockerfile

import (
	"fmt"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/strata-build/strata/internal/human/suggest"
)

// MountType is the type= of a RUN --mount.
type MountType = instructions.MountType

// ShareMode is the sharing= of a RUN --mount=type=cache.
type ShareMode = instructions.ShareMode

// The types of mounts, and the modes of sharing a cache, in BuildKit's words.
const (
	MountBind   = instructions.MountTypeBind
	MountCache  = instructions.MountTypeCache
	MountTmpfs  = instructions.MountTypeTmpfs
	MountSecret = instructions.MountTypeSecret
	MountSSH    = instructions.MountTypeSSH

	ShareAll     = instructions.MountSharingShared
	SharePrivate = instructions.MountSharingPrivate
	ShareLocked  = instructions.MountSharingLocked
)

// Mount is what one --mount of a RUN shows in the container while the command runs. The Dockerfile reference, "RUN
// --mount", tells what it may say, BuildKit's convert_runmount.go, convert_secrets.go and convert_ssh.go what is taken
// where it says nothing.
type Mount struct {
	Type MountType
	// Target is absolute and clean. For a secret and an ssh socket it is "" if it is not said: whether there is a
	// file then, and which, is up to who serves them.
	Target string
	// Source is the absolute and clean path that a bind or cache mount shows of what it comes from, "/" for all of it.
	Source string
	// From is where the files come from. For its zero value that is the context with a bind mount;
	// a cache begins empty.
	From     Source
	ReadOnly bool
	// ID is that of a cache, with the namespace of the build argument BUILDKIT_CACHE_MOUNT_NS and a slash in front; of
	// a secret, by default the file name of the target; of an ssh agent, by default "default".
	ID       string
	Sharing  ShareMode // cache: shared, private or locked
	Size     int64     // tmpfs: bytes at most, 0 without a limit
	Required bool      // secret, ssh: the build fails without
	Env      *string   // secret: the variable that holds it, nil for none
	// Mode, UID and GID are those of a cache's directory, a secret's file, an ssh socket; nil if they are not said.
	Mode, UID, GID *uint64
}

// FromContext says that the mount shows the build's context.
func (m *Mount) FromContext() bool {
	return m.Type == MountBind && m.From == Source{}
}

// ModeOr is the mode that the mount says, or another one where it says none.
func (m *Mount) ModeOr(mode uint64) uint64 {
	if m.Mode == nil {
		return mode
	}
	return *m.Mode
}

// Owner is the owner that the mount says, root where it says none.
func (m *Mount) Owner() (uid, gid int) {
	if m.UID != nil {
		uid = int(*m.UID)
	}
	if m.GID != nil {
		gid = int(*m.GID)
	}
	return uid, gid
}

// rawMounts are a RUN's mounts as BuildKit's parser has them: before expansion, which sets nothing but from=, or after
// it. The parser keeps the last of both in the command, which all plans of the file share, hence the lock.
func (f *File) rawMounts(c *instructions.RunCommand, expand instructions.SingleWordExpander) ([]*instructions.Mount, error) {
	f.mounts.Lock()
	defer f.mounts.Unlock()
	if expand != nil {
		if err := c.Expand(expand); err != nil {
			return nil, strictly(err)
		}
	}
	return instructions.GetMounts(c), nil
}

// mountSources are the from= of a RUN's mounts, in their order, "" for those without.
func (f *File) mountSources(c *instructions.RunCommand) []string {
	mounts, _ := f.rawMounts(c, nil)
	var from []string
	for _, m := range mounts {
		from = append(from, m.From)
	}
	return from
}

// mountSource is what from= of a mount names: a stage, a named context or an image. Unlike COPY
// --from, BuildKit takes a number for a name here (detectRunMount), and no stage can have it.
func (s *Stage) mountSource(from string) (Source, error) {
	source, err := s.sourceCalled("RUN --mount=from", from)
	if source.Image == from && s.isStageIndex(from) {
		source.Image = numberedImage + from // never the beginning of an image's ID
	}
	return source, err
}

const numberedImage = "docker.io/library/"

// isStageIndex says that somebody probably means a stage by its index.
func (s *Stage) isStageIndex(text string) bool {
	i, err := strconv.Atoi(text)
	return err == nil && i >= 0 && i < len(s.plan.all)
}

// ImageHint adds to the error of an image that a FROM or an instruction of the stage names, and that cannot be had, which
// of the stages before this one is meant.
func (s *Stage) ImageHint(image string, err error) error {
	if err == nil {
		return nil
	}
	var names []string
	for _, other := range s.plan.all[:s.Index] {
		names = append(names, other.Name)
	}
	if near := suggest.Near(image, names); near != "" {
		return fmt.Errorf("%w; did you mean the stage %s?", err, near)
	}
	return err
}

// MountHint adds to the error of an image that a mount names and that cannot be had what is
// probably wrong with the name.
func (s *Stage) MountHint(image string, err error) error {
	number, ok := strings.CutPrefix(image, numberedImage)
	if err == nil || !ok || !s.isStageIndex(number) {
		return s.ImageHint(image, err)
	}
	return fmt.Errorf("RUN --mount=from=%s: a mount knows stages by their names only, so this is an image; "+
		"for the stage write FROM … AS name, and from=name: %w", number, err)
}

// mounts expands the mounts of a RUN.
func (in *instruction) mounts(c *instructions.RunCommand) ([]Mount, error) {
	raw, err := in.stage.plan.file.rawMounts(c, in.expand)
	if err != nil {
		return nil, err
	}
	var mounts []Mount
	for _, r := range raw {
		m, err := in.mount(r)
		if err != nil {
			return nil, err
		}
		mounts = append(mounts, *m)
	}
	return mounts, nil
}

func (in *instruction) mount(r *instructions.Mount) (*Mount, error) {
	m := &Mount{
		Type: r.Type, ReadOnly: r.ReadOnly, ID: r.CacheID, Sharing: r.CacheSharing, Size: r.SizeLimit,
		Required: r.Required, Env: r.Env, Mode: r.Mode, UID: r.UID, GID: r.GID,
	}
	switch r.Type {
	case MountSecret:
		return m, secretMount(m, r)
	case MountSSH:
		return m, sshMount(m, r)
	}
	m.Source = path.Join("/", filepath.ToSlash(r.Source))
	if r.Target == "" {
		return nil, fmt.Errorf("RUN --mount=type=%s needs a target: add target=/DIRECTORY", r.Type)
	}
	if m.Target = in.mountTarget(r.Target); m.Target == "/" {
		return nil, fmt.Errorf("RUN --mount: the target %q is the root directory: choose one below it", r.Target)
	}
	if m.Type == MountCache {
		if m.ID == "" {
			m.ID = path.Clean(r.Target)
		}
		m.ID = in.stage.plan.options.Args["BUILDKIT_CACHE_MOUNT_NS"] + "/" + m.ID
		if m.Sharing == "" {
			m.Sharing = ShareAll
		}
	}
	if m.Type == MountTmpfs || r.From == "" {
		return m, nil
	}
	return m, in.mountFrom(m, r.From)
}

func (in *instruction) mountFrom(m *Mount, name string) error {
	from, err := in.stage.mountSource(name)
	m.From = from
	return err
}

// mountTarget is the target= of a mount, which is relative to WORKDIR.
func (in *instruction) mountTarget(target string) string {
	if path.IsAbs(target) {
		return path.Clean(target)
	}
	return path.Join("/", in.config.WorkingDir, target)
}

func secretMount(m *Mount, r *instructions.Mount) error {
	if r.Source != "" {
		m.ID = r.Source
	}
	if m.ID == "" {
		m.ID = path.Base(r.Target)
	}
	if r.Target != "" {
		m.Target = path.Join("/", r.Target) // not relative to WORKDIR
	}
	return nil
}

func sshMount(m *Mount, r *instructions.Mount) error {
	if r.Source != "" {
		return fmt.Errorf("RUN --mount=type=ssh: source=%s: an ssh mount has no source", r.Source)
	}
	if m.ID == "" {
		m.ID = "default"
	}
	if r.Target != "" {
		m.Target = path.Join("/", r.Target) // not relative to WORKDIR
	}
	return nil
}
