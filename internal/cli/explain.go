package cli

import (
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/strata-build/strata/internal/builder/explain"
	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/store"
)

type explainFlags struct {
	step string
	json bool
}

func (a *app) explain() *cobra.Command {
	f := &explainFlags{}
	cmd := &cobra.Command{
		Use:   "explain [OPTIONS] [BUILD|IMAGE]",
		Short: "Explain which steps of a build came from the cache, and why the others ran",
		Long: "Explain which steps of a build came from the cache, from which cache and what that saved, and why the others ran.\n" +
			"Without an argument it is the last build that was started in this directory, or of it; where there is none, the last\n" +
			"on this machine. `strata builds` lists them.",
		Args: args(0, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			name := ""
			if len(args) == 1 {
				name = args[0]
			}
			return a.runExplain(name, f)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.step, "step", "", "only the step of this number, as `N` or STAGE:N")
	fl.BoolVar(&f.json, "json", false, "print all details, as JSON")
	cmd.MarkFlagsMutuallyExclusive("step", "json")
	return cmd
}

func (a *app) runExplain(name string, f *explainFlags) error {
	b, err := a.findBuild(name)
	if err != nil {
		return err
	}
	if f.json {
		return a.printBuild(b)
	}
	return explain.Print(a.stdout, b, f.step)
}

func (a *app) printBuild(b *explain.Build) error {
	return human.JSON(a.stdout, "  ", b)
}

// findBuild returns the build with an ID, or the last one that made an image; "" means the last
// build of this directory.
func (a *app) findBuild(name string) (*explain.Build, error) {
	s, err := a.open()
	if err != nil {
		return nil, err
	}
	var row *store.Build
	if name == "" {
		b, err := explain.Last(s)
		if err == nil && b == nil {
			err = errors.New("nothing was built here yet; `strata build` builds")
		}
		return b, err
	} else if row, err = s.BuildByID(name); errors.Is(err, store.ErrNotFound) {
		row, err = a.findBuildOf(name)
	}
	if err != nil {
		return nil, err
	}
	return explain.Read(row)
}

// findBuildBeside finds the build that made an image together with images for other platforms:
// builds are recorded under the name of only one of them.
func (a *app) findBuildBeside(id digest.Digest) (*store.Build, error) {
	names, err := a.store.OtherNames(id)
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		first, err := a.store.Resolve(n.Name)
		if err != nil {
			return nil, err
		}
		if row, err := a.store.BuildByImage(first); !errors.Is(err, store.ErrNotFound) {
			return row, err
		}
	}
	return nil, store.ErrNotFound
}

func (a *app) findBuildOf(name string) (*store.Build, error) {
	c, err := a.find(name)
	if errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("no build and no image %s here; `strata builds` lists the builds", name)
	}
	if err != nil {
		return nil, err
	}
	row, err := a.store.BuildByImage(c.ID)
	if errors.Is(err, store.ErrNotFound) {
		row, err = a.findBuildBeside(c.ID)
	}
	if errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("no recorded build made image %s; `strata builds` lists the builds", image.ShortID(c.ID))
	}
	return row, err
}
