package cli

import (
	"errors"
	"fmt"
	"slices"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/strata-build/strata/internal/look/history"
	"github.com/strata-build/strata/internal/look/inventory"
	"github.com/strata-build/strata/internal/store"
)

func (a *app) tag() *cobra.Command {
	return &cobra.Command{
		Use:   "tag IMAGE|STEP-ID NAME[:TAG]",
		Short: "Give an image or a step a name",
		Args:  args(2, 2),
		RunE: func(_ *cobra.Command, args []string) error {
			name, err := newName(args[1])
			if err != nil {
				return err
			}
			if _, err := a.open(); err != nil {
				return err
			}
			a.store.MakeRoom()
			c, err := a.find(args[0])
			if err != nil {
				return err
			}
			ids := a.imagesOf(args[0])
			if len(ids) < 2 {
				ids = []digest.Digest{c.ID}
			}
			// A step becomes an image: it is listed, and pruning the cache does not remove it.
			err = a.store.SetImages(name, ids, "")
			if errors.Is(err, store.ErrNotFound) {
				return &history.NotFoundError{Text: args[0]} // removed this moment
			}
			return err
		},
	}
}

// imagesOf returns the images for several platforms that have one name; none if text is not such a
// name.
func (a *app) imagesOf(text string) []digest.Digest {
	ref, err := reference.ParseNormalizedNamed(text)
	if err != nil {
		return nil
	}
	members, err := a.store.IndexMembers(ref, nil)
	if err != nil {
		return nil
	}
	var ids []digest.Digest
	for _, m := range members {
		ids = append(ids, m.ID)
	}
	return ids
}

func (a *app) remove() *cobra.Command {
	var force bool
	var wanted string
	cmd := &cobra.Command{
		Use:   "rmi [OPTIONS] IMAGE...",
		Short: "Remove names of images, and images that have no name left",
		Args:  args(1, -1),
		RunE: func(_ *cobra.Command, args []string) error {
			only, err := parseOnlyPlatform(wanted)
			if err != nil {
				return err
			}
			return a.runRemove(args, only, force)
		},
	}
	onlyPlatformFlag(cmd.Flags(), &wanted)
	cmd.Flags().BoolVarP(&force, "force", "f", false, "remove an image that has several names, and ignore names that do not exist")
	cmd.Flags().Bool("no-prune", false, "ignored: steps that no image needs are always removed")
	return cmd
}

// removeOnly removes what a name means or, with a platform, that one of its images: the name keeps the others.
func (a *app) removeOnly(s *store.Store, name string, only *ocispec.Platform, force bool) (*inventory.Removed, error) {
	if only == nil {
		return inventory.Remove(s, name, force)
	}
	gone, err := s.ResolveFor(name, *only)
	if err != nil {
		return nil, err
	}
	rest := slices.DeleteFunc(a.imagesOf(name), func(id digest.Digest) bool { return id == gone })
	if len(rest) == 0 {
		return inventory.Remove(s, name, force)
	}
	ref, err := newName(name)
	if err != nil {
		return nil, err
	}
	if err := s.SetImages(ref, rest, ""); err != nil {
		return nil, err
	}
	if others, err := s.OtherNames(gone); err != nil || len(others) > 0 {
		return &inventory.Removed{}, err
	}
	if names, err := s.Names(gone); err != nil || len(names) > 0 {
		return &inventory.Removed{}, err
	}
	return inventory.Remove(s, string(gone), force)
}

// couldBeGone says that something of that name may have been here: -f takes no offence at it, other than at what is
// no name.
func couldBeGone(err error) bool {
	var unknown *history.NotFoundError
	return errors.Is(err, store.ErrNotFound) && !(errors.As(err, &unknown) && unknown.Invalid != nil)
}

// runRemove continues after an error, as docker does.
func (a *app) runRemove(names []string, only *ocispec.Platform, force bool) error {
	s, err := a.open()
	if err != nil {
		return err
	}
	failed := false
	for _, name := range names {
		r, err := a.removeOnly(s, name, only, force)
		if err != nil {
			fmt.Fprintf(a.stderr, "strata: %s\n", printable(a.advise(err).Error()))
			failed = failed || !force || !couldBeGone(err)
			continue
		}
		for _, n := range r.Untagged {
			fmt.Fprintln(a.stdout, "Untagged:", n)
		}
		for _, d := range r.Deleted {
			fmt.Fprintln(a.stdout, "Deleted:", d)
		}
		if r.InUse {
			fmt.Fprintf(a.stderr, "%s may be in use by a build or a run; the next prune removes it\n", name)
		}
	}
	if failed {
		return &exit{code: exitError}
	}
	return nil
}
