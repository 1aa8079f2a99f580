package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/strata-build/strata/internal/builder/explain"
	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/store"
)

type buildsFlags struct {
	all, quiet bool
	last       int
	format     string
}

func (a *app) builds() *cobra.Command {
	f := &buildsFlags{}
	cmd := &cobra.Command{
		Use:   "builds [OPTIONS]",
		Short: "List builds, with their times, hits and saved seconds",
		Args:  subcommand,
		RunE:  func(*cobra.Command, []string) error { return a.runBuilds(f) },
	}
	fl := cmd.Flags()
	fl.BoolVarP(&f.all, "all", "a", false, "list all builds")
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "print IDs only")
	fl.IntVarP(&f.last, "last", "n", 20, "list the last `N` builds")
	fl.StringVar(&f.format, "format", "", "`TEMPLATE` in Go's language, 'table TEMPLATE' or json; fields: .ID .Name .Since .At .Took .Hits .Steps .Saved .Result .Image .Context .Dockerfile .Target .Engine .Error")
	cmd.AddCommand(a.buildsShow(), a.buildsLogs())
	return cmd
}

func (a *app) runBuilds(f *buildsFlags) error {
	s, err := a.open()
	if err != nil {
		return err
	}
	if f.all {
		f.last = -1
	} else if f.last < 1 {
		return usageError("--last %d: it takes a number above zero", f.last)
	}
	stored, err := s.Builds(f.last)
	if err != nil {
		return err
	}
	var rows []human.Row
	for _, row := range stored {
		b, err := explain.Read(row)
		if err != nil {
			return err
		}
		rows = append(rows, buildCells(b))
	}
	if f.quiet {
		return a.printColumn("ID", rows)
	}
	columns := []string{"ID", "Since", "Took", "Hits", "Saved", "Result", "Context"}
	if slices.ContainsFunc(rows, func(r human.Row) bool { return r["Name"] != "" }) {
		columns = slices.Insert(columns, 1, "Name")
	}
	return a.list(human.Listing{
		Headers: map[string]string{
			"ID": "BUILD", "Name": "NAME", "Since": "WHEN", "At": "AT", "Took": "TOOK", "Hits": "HITS", "Steps": "STEPS", "Saved": "SAVED",
			"Result": "RESULT", "Image": "IMAGE", "Context": "CONTEXT", "Dockerfile": "DOCKERFILE", "Target": "TARGET",
			"Engine": "ENGINE", "Error": "ERROR",
		},
		Default: columns,
	}, f.format, rows)
}

func buildCells(b *explain.Build) human.Row {
	r := human.Row{
		"ID": b.ID, "Name": human.Clean(b.Name), "Since": human.Since(b.Started), "At": b.Started.UTC().Format(time.RFC3339), "Took": explain.Seconds(b.Took),
		"Hits": fmt.Sprintf("%d/%d", b.Hits, b.Total), "Steps": fmt.Sprint(b.Total), "Saved": explain.Seconds(b.Saved),
		"Image": image.ShortID(b.Image), "Context": human.Clean(b.Context), "Dockerfile": human.Clean(b.Dockerfile),
		"Target": b.Target, "Engine": b.Engine, "Error": human.Clean(b.Error),
	}
	switch {
	case b.Error != "":
		r["Result"] = "failed"
	case len(b.Tags) > 0:
		r["Result"] = strings.Join(b.Tags, ",")
	default:
		r["Result"] = r["Image"]
	}
	return r
}

func (a *app) buildsShow() *cobra.Command {
	asJSON, noTrunc := false, false
	cmd := &cobra.Command{
		Use:   "show [OPTIONS] [BUILD|IMAGE]",
		Short: "List the steps of a build, the last one of this directory if none is named",
		Args:  args(0, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			b, err := a.findBuild(strings.Join(args, ""))
			if err != nil {
				return err
			}
			if asJSON {
				return a.printBuild(b)
			}
			return a.listSteps(b, noTrunc)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print all details, as JSON")
	cmd.Flags().BoolVar(&noTrunc, "no-trunc", false, "do not shorten IDs and texts")
	return cmd
}

func (a *app) buildsLogs() *cobra.Command {
	step := ""
	cmd := &cobra.Command{
		Use:   "logs [OPTIONS] [BUILD|IMAGE]",
		Short: "Print what the steps of a build printed, the last one of this directory if none is named",
		Args:  args(0, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			b, err := a.findBuild(strings.Join(args, ""))
			if err != nil {
				return err
			}
			return a.printLogs(b, step)
		},
	}
	cmd.Flags().StringVar(&step, "step", "", "print one step only: the `NUMBER` that progress shows, or STAGE:NUMBER")
	return cmd
}

// printLogs prints what is kept of what a build's steps printed.
func (a *app) printLogs(b *explain.Build, step string) error {
	logs, err := explain.Logs(a.store, b)
	if err != nil {
		return err
	}
	if len(logs) == 0 {
		fmt.Fprintf(a.stderr, "Nothing is kept that build %s printed: steps that came from the cache print nothing, and logs are kept of the last %d builds that ran something.\n", b.ID, store.MaxLogged)
	}
	return explain.PrintLogs(a.texts(), b, logs, step)
}

func (a *app) listSteps(b *explain.Build, noTrunc bool) error {
	short := func(s string) string {
		if noTrunc {
			return s
		}
		return human.Shorten(s, 60)
	}
	var rows []human.Row
	for _, st := range b.Stages {
		for _, s := range st.Steps {
			r := human.Row{
				"Step": short(human.Clean(b.Label(st, s))), "Status": string(s.Status), "ID": image.ShortID(s.State),
				"Layer": image.ShortID(s.Layer), "Took": "-", "Saved": "-", "Why": short(explain.Line(s.Reasons)),
			}
			switch s.Status {
			case explain.Hit:
				r["Saved"] = explain.Seconds(s.Took)
				r["Why"] = short(s.Recorded())
			case explain.Ran, explain.Failed:
				r["Took"] = explain.Seconds(s.Took)
			}
			if noTrunc {
				r["ID"], r["Layer"] = string(s.State), string(s.Layer)
			}
			for _, column := range []string{"ID", "Layer", "Why"} {
				if r[column] == "" {
					r[column] = "-"
				}
			}
			rows = append(rows, r)
		}
	}
	return a.list(human.Listing{
		Headers: map[string]string{
			"Step": "STEP", "Status": "STATUS", "ID": "IMAGE", "Layer": "LAYER", "Took": "TOOK", "Saved": "SAVED", "Why": "WHY",
		},
		Default: []string{"ID", "Status", "Took", "Saved", "Layer", "Step", "Why"},
	}, "", rows)
}
