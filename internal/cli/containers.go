package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/look/copyout"
	"github.com/strata-build/strata/internal/look/inventory"
	"github.com/strata-build/strata/internal/store"
)

// containerName is what docker takes for the name of a container.
var containerName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]+$`)

// create is `strata create`: it gives an image a name under which files are copied out of it. It takes the flags of
// run, since scripts give them.
func (a *app) create() *cobra.Command {
	f := &runFlags{}
	cmd := &cobra.Command{
		Use:   "create [OPTIONS] IMAGE|STEP-ID [COMMAND] [ARG...]",
		Short: "Name an image as a container, from which strata cp copies",
		Args:  args(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.runCreate(cmd, args[0], args[1:], f); err != nil {
				return &exit{exitError, err}
			}
			return nil
		},
	}
	f.register(cmd)
	return cmd
}

func (a *app) runCreate(cmd *cobra.Command, name string, command []string, f *runFlags) error {
	if _, err := f.options(cmd, command); err != nil {
		return err
	}
	m, err := a.mover()
	if err != nil {
		return err
	}
	c, err := a.findToRun(cmd.Context(), m, name, f)
	if err != nil {
		return err
	}
	id := store.NewContainerID()
	if f.name != "" && !containerName.MatchString(f.name) {
		return usageError("--name %s: it takes letters, digits, _, . and -", f.name)
	}
	if err := f.writeCID(id); err != nil {
		return err
	}
	err = m.Store.PutContainer(store.Container{
		ID: id, Name: cmp.Or(f.name, id[:12]), Image: c.ID, Text: name, Command: command, Created: time.Now(),
	})
	if errors.Is(err, store.ErrNameTaken) {
		return fmt.Errorf("%w; remove it by strata rm %s, or give this one another name", err, f.name)
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(a.stdout, id)
	return nil
}

type copyFlags struct {
	archive, follow, quiet bool
}

func (a *app) copyFiles() *cobra.Command {
	f := &copyFlags{}
	cmd := &cobra.Command{
		Use:   "cp [OPTIONS] CONTAINER|IMAGE:PATH DESTINATION|-",
		Short: "Copy files out of an image, a step or a container",
		Long: "Copy a file or directory out of an image, a step or a container to this machine, or as a tar to standard output.\n" +
			"A directory whose path ends in /. is copied without itself.",
		Args: args(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error { return a.runCopy(cmd.Context(), args[0], args[1], f) },
	}
	fl := cmd.Flags()
	fl.BoolVarP(&f.archive, "archive", "a", false, "keep the owners of the files")
	fl.BoolVarP(&f.follow, "follow-link", "L", false, "copy what a link leads to instead of the link")
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "ignored: nothing is printed")
	return cmd
}

func (a *app) runCopy(ctx context.Context, from, to string, f *copyFlags) error {
	name, path, ok := splitContainerPath(from)
	if !ok {
		if _, _, other := splitContainerPath(to); other {
			return usageError("%s: nothing is copied into an image; COPY it in a Dockerfile, or show it to a command by strata run -v", to)
		}
		return usageError("%s: it takes CONTAINER:PATH or IMAGE:PATH", from)
	}
	m, err := a.mover()
	if err != nil {
		return err
	}
	if err := m.Store.BeginReading(); err != nil {
		return err
	}
	c, err := a.findContainerOr(name)
	if err != nil {
		return err
	}
	chain, err := image.DiffIDs(c.Data)
	if err != nil {
		return err
	}
	stack, err := m.Store.Stack(chain)
	if err != nil {
		return err
	}
	source, err := copyout.Find(ctx, stack, path, f.follow)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s has no %s; strata show %[1]s:/ lists what it has", name, human.Quoted(path))
	}
	if err != nil {
		return err
	}
	if to == "-" {
		return a.writeTo(ctx, "-", func(w io.Writer) error { return source.WriteTar(ctx, w) })
	}
	return source.CopyTo(ctx, to, f.archive)
}

// splitContainerPath splits NAME:PATH. The name may be an image's, with a tag; then the path is absolute. A text
// that begins with "/" or "." is a path of this machine.
func splitContainerPath(text string) (name, path string, ok bool) {
	if strings.HasPrefix(text, "/") || strings.HasPrefix(text, ".") || text == "-" {
		return "", text, false
	}
	if i := strings.LastIndex(text, ":/"); i > 0 {
		return text[:i], text[i+1:], true
	}
	name, path, ok = strings.Cut(text, ":")
	return name, path, ok && path != ""
}

// findContainerOr finds the image of a container, or else what the text means as an image.
func (a *app) findContainerOr(text string) (*store.Config, error) {
	s, err := a.open()
	if err != nil {
		return nil, err
	}
	c, err := s.FindContainer(text)
	if errors.Is(err, store.ErrNotFound) {
		return a.find(text)
	}
	if err != nil {
		return nil, err
	}
	return s.Config(c.Image)
}

// removeContainers is `strata rm`.
func (a *app) removeContainers() *cobra.Command {
	force := false
	cmd := &cobra.Command{
		Use:   "rm [OPTIONS] CONTAINER...",
		Short: "Remove containers, which strata create made",
		Args:  args(1, -1),
		RunE: func(_ *cobra.Command, names []string) error {
			s, err := a.open()
			if err != nil {
				return err
			}
			failed := false
			for _, name := range names {
				c, err := s.FindContainer(name)
				if err == nil {
					err = s.RemoveContainer(c.ID)
				}
				switch {
				case err == nil:
					fmt.Fprintln(a.stdout, name)
				case errors.Is(err, store.ErrNotFound):
					fmt.Fprintf(a.stderr, "strata: no container %s here; strata ps -a lists them, strata rmi removes images\n", printable(name))
					failed = failed || !force
				default:
					return err
				}
			}
			if failed {
				return &exit{code: exitError}
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "ignore containers that do not exist")
	cmd.Flags().BoolP("volumes", "v", false, "ignored: a container has no volumes")
	return cmd
}

type containersFlags struct {
	all, quiet, noTrunc, latest, size bool
	last                              int // how many of those created last; -1 for all
	format                            string
	filters                           []string
}

// ps is `strata ps`.
func (a *app) ps() *cobra.Command { return a.containers("ps [OPTIONS]") }

// containers is `strata ps` and its kin. No container runs when its command is not in the foreground of some shell.
func (a *app) containers(use string, aliases ...string) *cobra.Command {
	f := &containersFlags{}
	cmd := &cobra.Command{
		Use:     use,
		Aliases: aliases,
		Short:   "List containers, which strata create made; none of them runs, so it takes -a",
		Args:    args(0, 0),
		RunE:    func(*cobra.Command, []string) error { return a.listContainers(f) },
	}
	fl := cmd.Flags()
	fl.BoolVarP(&f.all, "all", "a", false, "list those that do not run, which are all")
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "print IDs only")
	fl.BoolVar(&f.noTrunc, "no-trunc", false, "do not shorten IDs")
	fl.StringVar(&f.format, "format", "", "`TEMPLATE` in Go's language, 'table TEMPLATE' or json; fields: .ID .Names .Image .Command .CreatedAt .RunningFor .Status .State .Ports .Labels .Mounts .Networks .LocalVolumes .Size")
	fl.VarP((*listFlag)(&f.filters), "filter", "f", "list only containers that match a `FILTER`: name=PART, id=BEGINNING, ancestor=IMAGE, status=created")
	fl.BoolVarP(&f.latest, "latest", "l", false, "list the container that was created last")
	fl.IntVarP(&f.last, "last", "n", -1, "list the `N` containers that were created last")
	fl.BoolVarP(&f.size, "size", "s", false, "list sizes too")
	return cmd
}

func (a *app) listContainers(f *containersFlags) error {
	s, err := a.open()
	if err != nil {
		return err
	}
	all, err := s.Containers()
	if err != nil {
		return err
	}
	if f.latest {
		f.last = 1
	}
	var rows []human.Row
	shown := f.all || f.last >= 0 || strings.Contains(strings.Join(f.filters, " "), "status=")
	for _, c := range all {
		d, err := a.describeContainer(&c)
		if err != nil {
			return err
		}
		matches, err := a.containerMatches(d, f.filters)
		if err != nil {
			return err
		}
		if shown && matches && (f.last < 0 || len(rows) < f.last) {
			rows = append(rows, containerRow(d, f.noTrunc))
		}
	}
	if len(all) == 0 {
		if _, err := a.containerMatches(&containerDetails{Config: &inventory.Runtime{}}, f.filters); err != nil {
			return err
		}
	}
	if f.quiet {
		return a.printColumn("ID", rows)
	}
	l := containerListing()
	if f.size {
		l.Default = append(l.Default, "Size")
	}
	config := a.readDockerConfig()
	return a.listByConfig(l, f.format, config.PsFormat, rows)
}

func containerRow(d *containerDetails, noTrunc bool) human.Row {
	id, command := d.Id, human.Clean(strings.Join(append([]string{d.Path}, d.Args...), " "))
	if !noTrunc {
		id, command = id[:12], human.Shorten(command, 20)
	}
	var labels []string
	for _, name := range slices.Sorted(maps.Keys(d.Config.Labels)) {
		labels = append(labels, name+"="+d.Config.Labels[name])
	}
	return human.Row{
		"ID": id, "Names": strings.TrimPrefix(d.Name, "/"), "Image": human.Clean(d.Config.Image), "Command": `"` + command + `"`, "RunningFor": human.Since(d.created),
		"CreatedAt": d.created.Format("2006-01-02 15:04:05 -0700 MST"), "Status": "Created", "State": d.State.Status, "Ports": "",
		"Labels": strings.Join(labels, ","), "Mounts": "", "Networks": d.HostConfig.NetworkMode, "LocalVolumes": "0", "Size": "0B",
	}
}

func containerListing() human.Listing {
	return human.Listing{
		Headers: map[string]string{
			"ID": "CONTAINER ID", "Image": "IMAGE", "Command": "COMMAND", "RunningFor": "CREATED", "CreatedAt": "CREATED AT", "Status": "STATUS",
			"State": "STATE", "Ports": "PORTS", "Names": "NAMES", "Labels": "LABELS", "Mounts": "MOUNTS", "Networks": "NETWORKS",
			"LocalVolumes": "LOCAL VOLUMES", "Size": "SIZE",
		},
		Default: []string{"ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"},
		Raw: []string{
			"container_id ID", "image Image", "command Command", "created_at CreatedAt", "state State", "status Status", "names Names",
			"labels Labels", "ports Ports",
		},
	}
}

// containerStates are what a container of docker can be; here each is created.
var containerStates = []string{"created", "restarting", "running", "removing", "paused", "exited", "dead"}

// containerMatches says whether a container fits all of docker's filters. Those with one key are alternatives.
func (a *app) containerMatches(d *containerDetails, filters []string) (bool, error) {
	fits := map[string]bool{}
	for _, text := range filters {
		key, value, _ := strings.Cut(text, "=")
		matches := false
		switch key {
		case "name":
			pattern, err := regexp.Compile(value)
			if err != nil {
				return false, usageError("--filter %s: it is a part of the name or a regular expression: %v", text, err)
			}
			matches = pattern.MatchString(d.Name) || pattern.MatchString(strings.TrimPrefix(d.Name, "/"))
		case "id":
			matches = strings.HasPrefix(d.Id, value)
		case "ancestor":
			img, err := a.find(value)
			matches = err == nil && string(img.ID) == d.Image
		case "status":
			if !slices.Contains(containerStates, value) {
				return false, usageError("--filter %s: it is one of %s", text, strings.Join(containerStates, ", "))
			}
			matches = value == d.State.Status
		case "label":
			name, want, hasValue := strings.Cut(value, "=")
			got, ok := d.Config.Labels[name]
			if matches = ok && (!hasValue || got == want); !matches {
				return false, nil // labels have to be there together
			}
		case "before", "since":
			other, err := a.store.FindContainer(value)
			if err != nil {
				return false, fmt.Errorf("--filter %s: %w", text, err)
			}
			matches = key == "before" && d.created.Before(other.Created) || key == "since" && d.created.After(other.Created)
		case "publish", "expose", "network", "volume", "health", "is-task", "exited":
		default:
			return false, usageError("--filter %s: it is one of name=…, id=…, ancestor=…, status=…, label=…, before=…, since=…", text)
		}
		fits[key] = fits[key] || matches
	}
	for _, ok := range fits {
		if !ok {
			return false, nil
		}
	}
	return true, nil
}

// pruneContainers is `strata container prune`.
func (a *app) pruneContainers() *cobra.Command {
	force := false
	cmd := &cobra.Command{
		Use:   "prune [OPTIONS]",
		Short: "Remove all containers, which strata create made",
		Args:  args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.open()
			if err != nil {
				return err
			}
			if !force {
				yes, err := a.confirm(cmd.Context(), "WARNING! This will remove all containers.\nAre you sure you want to continue? [y/N] ")
				if err != nil || !yes {
					return err
				}
			}
			if err := removeAllContainers(s, time.Time{}, a.stdout); err != nil {
				return err
			}
			fmt.Fprintln(a.stdout, "Total reclaimed space: 0B")
			return nil
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "do not ask")
	cmd.Flags().Var(new(listFlag), "filter", "ignored (`FILTER`)")
	return cmd
}

// removeAllContainers removes the containers that were created before a time, all without one, and writes a list of
// them.
func removeAllContainers(s *store.Store, until time.Time, list io.Writer) error {
	all, err := s.Containers()
	if err != nil {
		return err
	}
	var gone []string
	for _, c := range all {
		if !until.IsZero() && !c.Created.Before(until) {
			continue
		}
		if err := s.RemoveContainer(c.ID); err != nil {
			return err
		}
		gone = append(gone, c.ID)
	}
	if len(gone) > 0 {
		fmt.Fprintf(list, "Deleted Containers:\n%s\n\n", strings.Join(gone, "\n"))
	}
	return nil
}

// containerGroup is `strata container …`.
func (a *app) containerGroup() *cobra.Command {
	cmd := group("container", "Run commands in images, and copy files out of them")
	cmd.AddCommand(a.run(), a.create(), a.copyFiles(), a.containers("ls [OPTIONS]", "list", "ps"), a.inspectContainers(),
		a.removeContainers(), a.pruneContainers(), a.export())
	return cmd
}
