package cli

import (
	"context"
	"io"

	"github.com/spf13/cobra"
)

func (a *app) export() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "export [OPTIONS] IMAGE|STEP-ID|CONTAINER",
		Short: "Write the file system of an image, step or history row as a tar",
		Args:  args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runExport(cmd.Context(), args[0], output)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "write to this `FILE` instead of standard output")
	return cmd
}

func (a *app) runExport(ctx context.Context, text, output string) error {
	out := a.layersOnTerminal()
	defer out.Close()
	m, err := a.moverFor(out)
	if err != nil {
		return err
	}
	c, err := a.findContainerOr(text)
	if err != nil {
		return err
	}
	return a.writeTo(ctx, output, func(w io.Writer) error { return m.Export(ctx, w, c) })
}
