package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/layer/observed"
	"github.com/strata-build/strata/internal/look/inputs"
)

func (a *app) inputs() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "inputs [OPTIONS] IMAGE|STEP-ID",
		Short: "Show what each RUN read of the copied files, and what none of it read",
		Args:  args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.find(args[0])
			if err != nil {
				return err
			}
			config, err := image.Parse(c.Data)
			if err != nil {
				return err
			}
			steps, err := inputs.Of(cmd.Context(), a.store, config)
			if err != nil {
				return err
			}
			if format == "json" {
				return json.NewEncoder(a.stdout).Encode(steps)
			}
			if format != "" {
				return usageError("--format %s: it is json", format)
			}
			return printInputs(a.stdout, steps)
		},
	}
	cmd.Flags().StringVar(&format, "format", "", "`json`, for programs")
	return cmd
}

// maxUnread is how many of the files that a step did not read are listed.
const maxUnread = 20

func printInputs(out io.Writer, steps []inputs.Step) error {
	if len(steps) == 0 {
		_, err := fmt.Fprintln(out, "No RUN of it was observed: there is none on copied files, or it was built with --observe=off.")
		return err
	}
	for _, s := range steps {
		fmt.Fprintln(out, human.Clean(s.Instruction))
		dirs := onTheWay(s.Inputs)
		for _, x := range s.Inputs {
			passed := x.How == observed.LookedUp.String() && dirs[strings.TrimSuffix(x.Path, "/")+"/"]
			if x.InOtherLayer || passed { // the way to a program of the base image, for instance, or to a file
				continue
			}
			fmt.Fprintf(out, "  %-20s %s\n", x.How, human.Quoted(cmp.Or(x.Path, "/")))
		}
		if s.Files > s.Read {
			fmt.Fprintf(out, "  never read: %d of %d files\n", s.Files-s.Read, s.Files)
		}
		for i, path := range s.Unread {
			if i == maxUnread {
				fmt.Fprintf(out, "    and %d more\n", len(s.Unread)-i)
				break
			}
			fmt.Fprintf(out, "    %s\n", human.Quoted(path))
		}
	}
	return nil
}

// onTheWay are the directories in which something was asked for, by their paths with a slash behind them.
func onTheWay(all []inputs.Input) map[string]bool {
	dirs := map[string]bool{}
	for _, x := range all {
		if x.InOtherLayer {
			continue
		}
		path := strings.TrimSuffix(x.Path, "/")
		for at := strings.LastIndexByte(path, '/'); at >= 0 && !dirs[path[:at+1]]; at = strings.LastIndexByte(path[:at], '/') {
			dirs[path[:at+1]] = true
		}
	}
	return dirs
}
