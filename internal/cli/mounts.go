package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/store"
)

// mountGroup is `strata mount …`: what RUN --mount=type=cache keeps on this machine.
func (a *app) mountGroup() *cobra.Command {
	cmd := group("mount", "Manage cache mounts: what RUN --mount=type=cache keeps")
	cmd.AddCommand(a.listMounts(), a.exportMount(), a.importMount(), a.removeMounts())
	return cmd
}

const mountIDHelp = "ID is what the RUN says as id=, or else its target, or the first column of strata mount ls."

// mountKey tells apart cache mounts of one ID that begin with something else.
func mountKey(u store.CacheMountUse) string {
	return digest.FromString(strconv.Quote(u.ID) + u.Base).Encoded()[:12]
}

func (a *app) listMounts() *cobra.Command {
	var format string
	quiet := false
	cmd := &cobra.Command{
		Use: "ls [OPTIONS]", Aliases: []string{"list"}, Short: "List cache mounts", Args: args(0, 0),
		RunE: func(*cobra.Command, []string) error {
			s, err := a.open()
			if err != nil {
				return err
			}
			all, err := s.CacheMounts()
			if err != nil {
				return err
			}
			var rows []human.Row
			for _, u := range all {
				rows = append(rows, mountRow(u))
			}
			if quiet {
				return a.printColumn("ID", rows)
			}
			return a.list(human.Listing{
				Headers: map[string]string{
					"Mount": "MOUNT", "ID": "ID", "Size": "SIZE", "Created": "CREATED", "Used": "LAST USED", "InUse": "IN USE", "Base": "BEGINS WITH",
				},
				Default: []string{"Mount", "ID", "Size", "Created", "Used", "InUse"},
			}, format, rows)
		},
	}
	cmd.Flags().StringVar(&format, "format", "", "`TEMPLATE` in Go's language, 'table TEMPLATE' or json; fields: .Mount .ID .Size .Created .Used .InUse .Base")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print IDs only")
	return cmd
}

func mountRow(u store.CacheMountUse) human.Row {
	return human.Row{
		"Mount": mountKey(u), "ID": human.Clean(strings.TrimPrefix(u.ID, "/")), "Size": human.Size(u.Disk), "Created": human.Since(u.Created), "Used": human.Since(u.Used),
		"InUse": strconv.FormatBool(u.InUse), "Base": human.Clean(u.Base),
	}
}

// findMounts are the instances of the cache mount that a person means; an error where there is none, or several have the ID.
func findMounts(s *store.Store, text string) ([]store.CacheMountUse, error) {
	all, err := s.CacheMounts()
	if err != nil {
		return nil, err
	}
	found := slices.DeleteFunc(all, func(u store.CacheMountUse) bool {
		return mountKey(u) != text && strings.TrimLeft(u.ID, "/") != strings.TrimLeft(text, "/")
	})
	if len(found) == 0 {
		return nil, fmt.Errorf("no cache mount %s here (%w); strata mount ls lists them", text, store.ErrNotFound)
	}
	keys := []string{}
	for _, u := range found {
		if key := mountKey(u); !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	if len(keys) > 1 {
		return nil, fmt.Errorf("%d cache mounts have the id %s, and begin with different files; name one of them: %s", len(keys), text, strings.Join(keys, ", "))
	}
	return found, nil
}

// mountPatience is how long a cache mount that a build uses is waited for.
const mountPatience = 10 * time.Second

func (a *app) exportMount() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use: "export [OPTIONS] ID", Short: "Write the files of a cache mount as a tar", Args: args(1, 1),
		Long: "Write the files of a cache mount as a tar, with owners, modes and times. " + mountIDHelp + " Of several instances it is the one used last.",
		RunE: func(cmd *cobra.Command, args []string) error { return a.runExportMount(cmd.Context(), args[0], output) },
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "write to this `FILE` instead of standard output")
	return cmd
}

func (a *app) runExportMount(ctx context.Context, text, output string) error {
	s, err := a.open()
	if err != nil {
		return err
	}
	found, err := findMounts(s, text)
	if err != nil {
		return err
	}
	return a.writeTo(ctx, output, func(w io.Writer) error {
		r, err := s.Mounts.Read(ctx, store.CacheMountOptions{ID: found[0].ID, Base: found[0].Base}, mountPatience)
		if err != nil {
			return err
		}
		defer r.Close()
		return r.WriteTar(ctx, w)
	})
}

func (a *app) importMount() *cobra.Command {
	cmd := &cobra.Command{
		Use: "import ID FILE|-", Short: "Fill a cache mount with the files of a tar", Args: args(2, 2),
		Long: "Fill a cache mount with the files of a tar, which may be compressed, in the place of those that it has. " + mountIDHelp + "\n" +
			"A step that runs meanwhile keeps what it has until it ends.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runImportMount(cmd.Context(), args[0], args[1])
		},
	}
	return cmd
}

func (a *app) runImportMount(ctx context.Context, text, file string) error {
	if strings.Trim(text, "/") == "" {
		return usageError("strata mount import %q: it is the ID of a cache mount, as its RUN says it", text)
	}
	r, err := a.input(ctx, file)
	if err != nil {
		return err
	}
	defer r.Close()
	s, err := a.open()
	if err != nil {
		return err
	}
	limits, err := unpackLimits()
	if err != nil {
		return err
	}
	if err := s.Begin(); err != nil {
		return err
	}
	o := store.CacheMountOptions{ID: "/" + strings.TrimPrefix(text, "/")}
	if strings.HasPrefix(text, "/") {
		o.ID = "/" + text // as a RUN without an id has it, whose target begins with a slash
	}
	found, err := findMounts(s, text)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if err == nil {
		o.ID, o.Base = found[0].ID, found[0].Base
	}
	b := bufio.NewReaderSize(r, 1<<16)
	if _, err := b.Peek(1); errors.Is(err, io.EOF) {
		return fmt.Errorf("importing %s: it is empty; give a tar, compressed or not", file)
	}
	if err := s.Mounts.Import(ctx, o, b, limits); err != nil {
		return fmt.Errorf("importing %s: %w", file, s.Explain(err))
	}
	return nil
}

func (a *app) removeMounts() *cobra.Command {
	return &cobra.Command{
		Use: "rm ID...", Aliases: []string{"remove"}, Short: "Remove cache mounts, with what is in them", Args: args(1, -1),
		Long: "Remove cache mounts, with what is in them. " + mountIDHelp + " strata builder prune --filter type=exec.cachemount removes all.",
		RunE: func(_ *cobra.Command, ids []string) error {
			s, err := a.open()
			if err != nil {
				return err
			}
			for _, id := range ids {
				found, err := findMounts(s, id)
				if err != nil {
					return err
				}
				for _, u := range found {
					removed, err := s.Mounts.Remove(u)
					if err == nil && !removed {
						err = fmt.Errorf("the cache mount %s is in use; try again when no build runs with it", id)
					}
					if err != nil {
						return err
					}
				}
				fmt.Fprintln(a.stdout, id)
			}
			return nil
		},
	}
}
