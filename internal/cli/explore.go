package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/strata-build/strata/internal/event/progress"
	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/human/style"
	"github.com/strata-build/strata/internal/look/anatomy"
	"github.com/strata-build/strata/internal/look/explorer"
	"github.com/strata-build/strata/internal/look/rules"
)

type exploreFlags struct {
	ci           bool
	config, json string
	rules        rules.Config
}

func (a *app) explore() *cobra.Command {
	f := &exploreFlags{}
	cmd := &cobra.Command{
		Use:     "explore [OPTIONS] IMAGE",
		Aliases: []string{"dive"},
		Short:   "Browse the layers and files of an image on the terminal, or check it by dive's rules",
		Long: `Browse an image on the terminal: its layers are on the left, the files at the selected layer on the right, with what
the layer added (+), changed (~) and removed (-). The keys are the same as in dive and vim; ? lists them.

With --ci, or CI=true in the environment, the image is checked by dive's rules in .dive-ci instead. The exit code is 1 if
it breaks a rule.

` + imageHelp,
		Args: args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if on, err := strconv.ParseBool(os.Getenv("CI")); err == nil && on {
				f.ci = true
			}
			if f.ci || f.json != "" {
				out := a.layersOnTerminal()
				defer out.Close()
				return a.lookAs(cmd.Context(), out, args[0], func(im *anatomy.Image) error { return a.runJudge(cmd, im, f, out) })
			}
			fetching := &explorer.Fetching{}
			return a.lookAs(cmd.Context(), fetching, args[0], func(im *anatomy.Image) error { return a.runExplorer(cmd.Context(), im, fetching) })
		},
	}
	fl := cmd.Flags()
	fl.BoolVar(&f.ci, "ci", false, "check the image by dive's rules, without the terminal interface; the same as CI=true")
	fl.StringVar(&f.config, "ci-config", rules.DefaultFile, "`FILE` with the rules")
	fl.StringVarP(&f.json, "json", "j", "", "write layers and inefficient files to this `FILE`, in dive's format, without the terminal interface")
	fl.StringVar(&f.rules.LowestEfficiency, "lowestEfficiency", "", "rule: lowest permitted `EFFICIENCY`, 0 to 1")
	fl.StringVar(&f.rules.HighestWastedBytes, "highestWastedBytes", "", "rule: highest permitted wasted `SIZE`")
	fl.StringVar(&f.rules.HighestUserWastedPercent, "highestUserWastedPercent", "", "rule: highest permitted wasted `PART` of the bytes above the lowest layer, 0 to 1")
	return cmd
}

// runJudge judges the image, or writes what it found, without the terminal interface.
func (a *app) runJudge(cmd *cobra.Command, im *anatomy.Image, f *exploreFlags, out *progress.Layers) error {
	t, err := im.Timeline(cmd.Context())
	out.Close()
	if err != nil {
		return err
	}
	analysis := rules.Analyze(t)
	if f.json != "" {
		if err := writeJSONFile(f.json, analysis.Export(im, t)); err != nil || !f.ci {
			return err
		}
	}
	return a.judge(analysis, cmd, f)
}

// judge checks the image by the rules. Rules on the command line override those of the file.
func (a *app) judge(analysis *rules.Analysis, cmd *cobra.Command, f *exploreFlags) error {
	c, err := rules.Read(f.config, cmd.Flags().Changed("ci-config"))
	if err != nil {
		return err
	}
	for name, to := range map[string]*string{
		"lowestEfficiency": &c.LowestEfficiency, "highestWastedBytes": &c.HighestWastedBytes, "highestUserWastedPercent": &c.HighestUserWastedPercent,
	} {
		if flag := cmd.Flags().Lookup(name); flag.Changed {
			*to = flag.Value.String()
		}
	}
	result, err := rules.Judge(c, analysis)
	if err != nil {
		return err
	}
	result.Print(a.stdout, human.Clean)
	if !result.Pass {
		return &exit{code: exitError}
	}
	return nil
}

func writeJSONFile(name string, v any) error {
	return writeNew(name, func(w io.Writer) error { return human.JSON(w, "  ", v) })
}

func (a *app) runExplorer(ctx context.Context, im *anatomy.Image, fetching *explorer.Fetching) error {
	if !human.IsTerminal(a.stdin) || !human.IsTerminal(a.stdout.File) {
		return usageError("explore needs a terminal; use strata log, show or du, or explore --ci")
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	return explorer.Run(ctx, explorer.Options{
		Image: im, Fetching: fetching, NoColor: !style.Wanted(),
		Shell: func(id digest.Digest) *exec.Cmd {
			return exec.Command(self, "run", "--rm", "-it", string(id), "/bin/sh")
		},
	}, a.stdin, a.stdout.File)
}
