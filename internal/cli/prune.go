package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/look/inventory"
	"github.com/strata-build/strata/internal/store"
)

// pruneCommand describes one of the commands that prune the store, and holds its flags.
type pruneCommand struct {
	options store.PruneOptions
	// warning says what the prune removes; all is the value of --all.
	warning func(all bool) string
	filters []string // keys that --filter accepts
	lists   bool     // print each removed object

	containers, volumes bool // remove these first

	force, json bool
	given       []string // values of --filter
}

func (a *app) systemPrune() *cobra.Command {
	p := &pruneCommand{filters: []string{"until", "label"}, lists: true, containers: true, warning: func(all bool) string {
		if all {
			return "WARNING! This will remove:\n  - all containers\n  - all images, those with names too\n  - all build cache\n\n"
		}
		return "WARNING! This will remove:\n  - all containers\n  - all images without a name\n  - all build cache that no image has\n  - all cache mounts\n\n"
	}}
	cmd := a.prune(p, "Remove unused data: images without a name and the cache that no image has")
	cmd.Flags().BoolVar(&p.volumes, "volumes", false, "remove the volumes of strata run -v NAME:TARGET too")
	return cmd
}

func (a *app) imagePrune() *cobra.Command {
	p := &pruneCommand{filters: []string{"until", "label", "dangling"}, lists: true, warning: func(all bool) string {
		if all {
			return "WARNING! This will remove all images, those with names too.\n"
		}
		return "WARNING! This will remove all images without a name.\n"
	}}
	p.options.Images = true
	return a.prune(p, "Remove images without a name")
}

func (a *app) prune(p *pruneCommand, short string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "prune [OPTIONS]",
		Short: short,
		Args:  args(0, 0),
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.runPrune(cmd.Context(), p) },
	}
	fl := cmd.Flags()
	fl.BoolVarP(&p.options.All, "all", "a", false, "remove used data too, not only unused data")
	fl.BoolVarP(&p.force, "force", "f", false, "do not ask")
	jsonFlag(fl, &p.json, "print what was removed as JSON; needs --force")
	fl.Var((*listFlag)(&p.given), "filter", "remove only matching data, as `KEY=VALUE`: until=TIME or DURATION (older than this), label=KEY[=VALUE], label!=KEY[=VALUE]")
	return cmd
}

func (a *app) runPrune(ctx context.Context, p *pruneCommand) error {
	if p.json && !p.force {
		return usageError("prune --json asks nothing: it goes with --force")
	}
	s, err := a.open()
	if err != nil {
		return err
	}
	filter, err := inventory.ParseFilter(s, p.given, p.filters...)
	if err != nil {
		return &exit{exitUsage, err}
	}
	if !p.force {
		yes, err := a.confirm(ctx, p.warning(p.options.All)+"Are you sure you want to continue? [y/N] ")
		if err != nil || !yes {
			return err
		}
	}
	p.options.Until = filter.Until
	if len(p.given) > 0 {
		p.options.Keep = filter.Keeps
	}
	freed, err := a.pruneNamed(s, p)
	if err != nil {
		return err
	}
	gone, err := s.Prune(p.options)
	if err != nil {
		return err
	}
	gone.Freed += freed
	if p.json {
		return a.printDocument(newPrunedDocument(gone))
	}
	a.printPruned(gone, p.lists)
	return nil
}

// pruneNamed removes containers and volumes, as far as the prune takes them, and returns what that freed in bytes.
func (a *app) pruneNamed(s *store.Store, p *pruneCommand) (freed int64, err error) {
	var list io.Writer = a.stdout
	if p.json {
		list = io.Discard
	}
	if p.containers {
		if err := removeAllContainers(s, p.options.Until, list); err != nil {
			return 0, err
		}
	}
	if p.volumes {
		return removeAllVolumes(s, list)
	}
	return 0, nil
}

// parseSize reads a size in bytes: 10GB, 500m, or 10GiB for powers of 1024.
func parseSize(text string) (int64, error) {
	parse := units.FromHumanSize
	if strings.ContainsAny(text, "iI") {
		parse = units.RAMInBytes
	}
	size, err := parse(text)
	if err != nil || size < 0 {
		return 0, errors.New("it takes a size such as 10GB, 500MB or 10GiB")
	}
	return size, nil
}

func (a *app) printPruned(gone *store.Pruned, lists bool) {
	if lists && len(gone.Images)+len(gone.Untagged) > 0 {
		fmt.Fprintln(a.stdout, "Deleted Images:")
		for _, name := range gone.Untagged {
			fmt.Fprintln(a.stdout, "untagged:", familiar(name))
		}
		for _, id := range gone.Images {
			fmt.Fprintln(a.stdout, "deleted:", id)
		}
		fmt.Fprintln(a.stdout)
	}
	if gone.Mounts > 0 {
		fmt.Fprintf(a.stdout, "Deleted cache mounts: %d\n\n", gone.Mounts)
	}
	if gone.Records > 0 {
		fmt.Fprintf(a.stdout, "Deleted build cache records: %d\n\n", gone.Records)
	}
	fmt.Fprintf(a.stdout, "Total reclaimed space: %s\n", human.FullSize(gone.Freed))
}

// confirm asks the person. Any answer but "y" and "yes" means no, the end of the input too.
func (a *app) confirm(ctx context.Context, question string) (bool, error) {
	fmt.Fprint(a.stdout, question)
	in := interruptible(ctx, a.stdin)
	defer in.Close()
	line, err := bufio.NewReader(in).ReadString('\n')
	if ctx.Err() != nil {
		fmt.Fprintln(a.stdout)
		return false, context.Cause(ctx)
	}
	if err != nil {
		fmt.Fprintln(a.stdout)
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return true, nil
	}
	return false, nil
}

// builderGroup is `strata builder …`.
func (a *app) builderGroup() *cobra.Command {
	cmd := group("builder", "Manage builds and their cache")
	cmd.AddCommand(a.build(), a.builderPrune(), a.cacheUse())
	return cmd
}

// systemGroup is `strata system …`.
func (a *app) systemGroup() *cobra.Command {
	cmd := group("system", "Manage strata")
	cmd.AddCommand(a.diskUse(), a.systemCheck(), a.systemPrune(), a.info())
	return cmd
}
