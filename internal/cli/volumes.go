package cli

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/store"
)

// volumeGroup is `strata volume …`: the directories that run -v NAME:TARGET keeps.
func (a *app) volumeGroup() *cobra.Command {
	cmd := group("volume", "Manage the volumes of strata run -v NAME:TARGET")
	cmd.AddCommand(a.createVolume(), a.listVolumes(), a.showVolume(), a.removeVolumes(), a.pruneVolumes())
	return cmd
}

func (a *app) createVolume() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create [OPTIONS] NAME",
		Short: "Make a volume; run -v NAME:TARGET makes one that is not there, too",
		Args:  args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !store.VolumeName.MatchString(args[0]) {
				return usageError("%s: a volume's name has letters, digits, _, . and -", args[0])
			}
			s, err := a.open()
			if err != nil {
				return err
			}
			if err := s.Begin(); err != nil {
				return err
			}
			m, err := s.Volume(cmd.Context(), args[0], nil)
			if err != nil {
				return err
			}
			fmt.Fprintln(a.stdout, args[0])
			return m.Release()
		},
	}
	ignoredFlags(cmd.Flags(), []string{"driver", "label", "opt"}, nil)
	return cmd
}

// volumesOf returns the volumes with these names, all if none is given. The error names those that are not there.
func volumesOf(s *store.Store, names []string) ([]store.CacheMountUse, error) {
	all, err := s.Volumes()
	if err != nil || len(names) == 0 {
		return all, err
	}
	var found []store.CacheMountUse
	var failures []error
	for _, name := range names {
		at := slices.IndexFunc(all, func(u store.CacheMountUse) bool { return u.ID == name })
		if at < 0 {
			failures = append(failures, fmt.Errorf("no volume %s here; strata volume ls lists them", name))
			continue
		}
		found = append(found, all[at])
	}
	return found, errors.Join(failures...)
}

func (a *app) listVolumes() *cobra.Command {
	var format string
	var quiet bool
	cmd := &cobra.Command{
		Use: "ls [OPTIONS]", Aliases: []string{"list"}, Short: "List volumes", Args: args(0, 0),
		RunE: func(*cobra.Command, []string) error {
			s, err := a.open()
			if err != nil {
				return err
			}
			all, err := s.Volumes()
			if err != nil {
				return err
			}
			slices.SortFunc(all, func(x, y store.CacheMountUse) int { return strings.Compare(x.ID, y.ID) })
			var rows []human.Row
			for _, u := range all {
				rows = append(rows, human.Row{"Driver": "local", "Name": u.ID, "Mountpoint": u.Path() + "/fs", "Size": human.FullSize(u.Disk), "Scope": "local", "Labels": ""})
			}
			if quiet {
				return a.printColumn("Name", rows)
			}
			return a.list(human.Listing{
				Headers: map[string]string{
					"Driver": "DRIVER", "Name": "VOLUME NAME", "Mountpoint": "MOUNTPOINT", "Size": "SIZE", "Scope": "SCOPE", "Labels": "LABELS",
				},
				Default: []string{"Driver", "Name"},
			}, format, rows)
		},
	}
	cmd.Flags().StringVar(&format, "format", "", "`TEMPLATE` in Go's language, 'table TEMPLATE' or json; fields: .Name .Driver .Mountpoint .Size .Scope .Labels")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print names only")
	return cmd
}

// volumeDetails has docker's fields.
type volumeDetails struct {
	CreatedAt, Driver, Mountpoint, Name, Scope string
}

func (a *app) showVolume() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use: "inspect [OPTIONS] VOLUME...", Short: "Show details of volumes, as JSON", Args: args(1, -1),
		RunE: func(_ *cobra.Command, names []string) error {
			s, err := a.open()
			if err != nil {
				return err
			}
			found, missing := volumesOf(s, names)
			details := []any{}
			for _, u := range found {
				details = append(details, volumeDetails{u.Created.Format(time.RFC3339), "local", u.Path() + "/fs", u.ID, "local"})
			}
			if err := a.printInspected(details, format); err != nil {
				return err
			}
			return missing
		},
	}
	cmd.Flags().StringVarP(&format, "format", "f", "", "`TEMPLATE` in Go's language, such as '{{.Mountpoint}}'")
	return cmd
}

func (a *app) removeVolumes() *cobra.Command {
	force := false
	cmd := &cobra.Command{
		Use: "rm [OPTIONS] VOLUME...", Aliases: []string{"remove"}, Short: "Remove volumes, with what is in them", Args: args(1, -1),
		RunE: func(_ *cobra.Command, names []string) error {
			s, err := a.open()
			if err != nil {
				return err
			}
			found, missing := volumesOf(s, names)
			for _, u := range found {
				removed, err := s.Mounts.Remove(u)
				if err == nil && !removed {
					err = fmt.Errorf("the volume %s is in use; try again when no command runs on it", u.ID)
				}
				if err != nil {
					return err
				}
				fmt.Fprintln(a.stdout, u.ID)
			}
			if force {
				return nil
			}
			return missing
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "ignore volumes that do not exist")
	return cmd
}

func (a *app) pruneVolumes() *cobra.Command {
	force := false
	cmd := &cobra.Command{
		Use: "prune [OPTIONS]", Short: "Remove all volumes that no command uses, with what is in them", Args: args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.open()
			if err != nil {
				return err
			}
			if !force {
				yes, err := a.confirm(cmd.Context(), "WARNING! This will remove all volumes that no command uses, with what is in them.\nAre you sure you want to continue? [y/N] ")
				if err != nil || !yes {
					return err
				}
			}
			freed, err := removeAllVolumes(s, a.stdout)
			if err != nil {
				return err
			}
			fmt.Fprintf(a.stdout, "Total reclaimed space: %s\n", human.FullSize(freed))
			return nil
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "do not ask")
	cmd.Flags().BoolP("all", "a", false, "ignored: all volumes have names")
	cmd.Flags().StringArray("filter", nil, "ignored (`FILTER`)")
	return cmd
}

// removeAllVolumes removes the volumes that no command uses, writes a list of them, and returns what that freed in bytes.
func removeAllVolumes(s *store.Store, list io.Writer) (freed int64, err error) {
	all, err := s.Volumes()
	if err != nil {
		return 0, err
	}
	var gone []string
	for _, u := range all {
		removed, err := s.Mounts.Remove(u)
		if err != nil {
			return freed, err
		}
		if removed {
			gone, freed = append(gone, u.ID), freed+u.Disk
		}
	}
	if len(gone) > 0 {
		fmt.Fprintf(list, "Deleted Volumes:\n%s\n\n", strings.Join(gone, "\n"))
	}
	return freed, nil
}
