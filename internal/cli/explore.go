package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/strata-build/strata/internal/anatomy"
	"github.com/strata-build/strata/internal/explorer"
)

func (a *app) explore() *cobra.Command {
	return &cobra.Command{
		Use:     "explore [OPTIONS] IMAGE",
		Aliases: []string{"dive"},
		Short:   "Look through an image's layers and files on the terminal",
		Long: `Look through an image on the terminal: its layers on the left, the files at the selected layer on the right, with what
the layer added (+), changed (~) and removed (-). The keys are those of dive and vim; ? lists them.

` + imageHelp,
		Args: args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.look(cmd.Context(), args[0], func(im *anatomy.Image) error { return a.runExplorer(cmd.Context(), im) })
		},
	}
}

func (a *app) runExplorer(ctx context.Context, im *anatomy.Image) error {
	if !isTerminal(a.stdin) || !isTerminal(a.stdout) {
		return errors.New("explore needs a terminal; strata log, show and du print the same")
	}
	t, err := im.Timeline(ctx)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	return explorer.Run(ctx, explorer.Options{
		Image: im, Timeline: t, NoColor: os.Getenv("NO_COLOR") != "",
		Shell: func(id digest.Digest) *exec.Cmd {
			return exec.Command(self, "run", "--rm", "-it", string(id), "/bin/sh")
		},
	}, a.stdin, a.stdout)
}
