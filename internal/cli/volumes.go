package cli

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
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

type createVolumeFlags struct {
	name, driver string
	options      []string
}

// chosen is the name of the volume to make: an argument, --name as docker still takes it, or one that no volume has.
func (f *createVolumeFlags) chosen(args []string) (string, error) {
	name := f.name
	switch {
	case len(args) > 0 && name != "":
		return "", usageError("the volume's name is given twice: %s and --name %s", args[0], name)
	case len(args) > 0:
		name = args[0]
	case name == "":
		return store.NewContainerID(), nil
	}
	if !store.VolumeName.MatchString(name) {
		return "", usageError("%s: a volume's name has letters, digits, _, . and -, and two of them at least", name)
	}
	return name, nil
}

func (f *createVolumeFlags) check() error {
	if f.driver != "local" {
		return usageError("--driver %s: there is only local, a directory of the store; other file systems are mounted by strata run -v DIRECTORY:TARGET", f.driver)
	}
	if len(f.options) > 0 {
		return usageError("--opt %s: a volume is a directory of the store; show another one by strata run -v DIRECTORY:TARGET or --tmpfs", f.options[0])
	}
	return nil
}

func (a *app) createVolume() *cobra.Command {
	f := &createVolumeFlags{}
	cmd := &cobra.Command{
		Use:   "create [OPTIONS] [NAME]",
		Short: "Make a volume; run -v NAME:TARGET makes one that is not there, too",
		Args:  args(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := f.chosen(args)
			if err == nil {
				err = f.check()
			}
			if err != nil {
				return err
			}
			s, err := a.open()
			if err != nil {
				return err
			}
			if err := s.Begin(); err != nil {
				return err
			}
			m, err := s.Volume(cmd.Context(), name, nil)
			if err != nil {
				return err
			}
			fmt.Fprintln(a.stdout, name)
			return m.Release()
		},
	}
	fl := cmd.Flags()
	fl.StringVarP(&f.driver, "driver", "d", "local", "the volume's `DRIVER`: only local")
	fl.StringVar(&f.name, "name", "", "the volume's `NAME`")
	fl.VarP((*listFlag)(&f.options), "opt", "o", "refused: a volume is a directory of the store (`OPTION`)")
	fl.Var(new(listFlag), "label", "ignored: volumes have no labels (`LABEL`)")
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
			failures = append(failures, fmt.Errorf("no volume %s here (%w); strata volume ls lists them", name, store.ErrNotFound))
			continue
		}
		found = append(found, all[at])
	}
	return found, errors.Join(failures...)
}

func (a *app) listVolumes() *cobra.Command {
	var format string
	var quiet bool
	var filters []string
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
				matches, err := volumeMatches(u, filters)
				if err != nil {
					return err
				}
				if !matches {
					continue
				}
				rows = append(rows, volumeRow(u))
			}
			if len(rows) == 0 {
				if _, err := volumeMatches(store.CacheMountUse{}, filters); err != nil {
					return err
				}
			}
			if quiet {
				return a.printColumn("Name", rows)
			}
			return a.list(volumeListing(), format, rows)
		},
	}
	cmd.Flags().StringVar(&format, "format", "", "`TEMPLATE` in Go's language, 'table TEMPLATE' or json; fields: .Name .Driver .Mountpoint .Size .Scope .Labels")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print names only")
	cmd.Flags().VarP((*listFlag)(&filters), "filter", "f", "list only volumes that match a `FILTER`: name=PART, driver=local, dangling=true, label=KEY[=VALUE]")
	return cmd
}

func volumeRow(u store.CacheMountUse) human.Row {
	return human.Row{
		"Driver": "local", "Name": u.ID, "Mountpoint": u.Path() + "/fs", "Size": human.FullSize(u.Disk), "Scope": "local",
		"Labels": "", "Links": "N/A",
	}
}

func volumeListing() human.Listing {
	return human.Listing{
		Headers: map[string]string{
			"Driver": "DRIVER", "Name": "VOLUME NAME", "Mountpoint": "MOUNTPOINT", "Size": "SIZE", "Scope": "SCOPE", "Labels": "LABELS",
			"Links": "LINKS",
		},
		Default: []string{"Driver", "Name"},
		Raw:     []string{"name Name", "driver Driver"},
	}
}

// volumeMatches says whether a volume fits filters as docker has them. A volume that no command uses is dangling,
// and none has labels.
func volumeMatches(u store.CacheMountUse, filters []string) (bool, error) {
	matches := true
	for _, text := range filters {
		key, value, _ := strings.Cut(text, "=")
		switch key {
		case "name":
			matches = matches && strings.Contains(u.ID, value)
		case "driver":
			matches = matches && value == "local"
		case "dangling":
			dangling, err := strconv.ParseBool(value)
			if err != nil {
				return false, usageError("--filter %s: it is true or false", text)
			}
			matches = matches && dangling == !u.InUse
		case "label":
			matches = false
		default:
			return false, usageError("--filter %s: it is one of name=…, driver=…, dangling=…, label=…", text)
		}
	}
	return matches, nil
}

// volumeDetails has docker's fields.
type volumeDetails struct {
	CreatedAt, Driver string
	Labels            map[string]string
	Mountpoint, Name  string
	Options           map[string]string
	Scope             string
}

func detailsOf(u store.CacheMountUse) *volumeDetails {
	return &volumeDetails{
		CreatedAt: u.Created.UTC().Format(time.RFC3339), Driver: "local", Labels: map[string]string{}, Mountpoint: u.Path() + "/fs", Name: u.ID,
		Options: map[string]string{}, Scope: "local",
	}
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
				details = append(details, detailsOf(u))
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
				for _, name := range names {
					if !slices.ContainsFunc(found, func(u store.CacheMountUse) bool { return u.ID == name }) {
						fmt.Fprintln(a.stdout, name) // as docker does: it is gone
					}
				}
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
	cmd.Flags().Var(new(listFlag), "filter", "ignored (`FILTER`)")
	return cmd
}

// removeAllVolumes removes the volumes that no command uses, writes a list of them, and returns what that freed in
// bytes.
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
