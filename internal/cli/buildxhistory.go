package cli

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/strata-build/strata/internal/builder/explain"
	"github.com/strata-build/strata/internal/human"
)

// buildxHistory is `strata buildx history …`: past builds as `strata builds` and `strata explain` show them, under
// buildx's names and with its columns.
func (a *app) buildxHistory() *cobra.Command {
	cmd := group("history", "Past builds: the commands of buildx for what strata builds and strata explain show")
	unavailable := func(use, short, instead string) *cobra.Command {
		return harmless(use, short, func(fl *pflag.FlagSet) { fl.StringP("output", "o", "", "ignored (`FILE`)") }, func([]string) error {
			return fmt.Errorf("builds are kept in strata's own form; %s", instead)
		})
	}
	cmd.AddCommand(a.pastBuilds(), a.pastBuild(), a.pastBuildLogs(), a.forgetBuilds(),
		harmless("open [REF]", "Show a past build, here", nil, func(refs []string) error {
			b, err := a.findPastBuild(first(refs))
			if err != nil {
				return err
			}
			return explain.Print(a.stdout, b, "")
		}),
		unavailable("export [OPTIONS] [REF]", "Not supported: export a build record", "strata builds show --json prints one"),
		unavailable("import [OPTIONS]", "Not supported: import a build record", "a cache goes to another machine by --cache-to and --cache-from"),
		unavailable("trace [OPTIONS] [REF]", "Not supported: traces in Jaeger", "strata builds show lists the times of the steps"))
	return cmd
}

// findPastBuild finds a build by what buildx calls it: an ID, builder/node/ID, ^N for the Nth before the last, ""
// for the last.
func (a *app) findPastBuild(ref string) (*explain.Build, error) {
	text, isOffset := strings.CutPrefix(ref, "^")
	if !isOffset {
		return a.findBuild(ref[strings.LastIndexByte(ref, '/')+1:])
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return nil, usageError("%s: it takes ^ and a number: ^1 is the build before the last", ref)
	}
	s, err := a.open()
	if err != nil {
		return nil, err
	}
	rows, err := s.Builds(n + 1)
	if err != nil {
		return nil, err
	}
	if len(rows) <= n {
		return nil, fmt.Errorf("%s: only %d builds are remembered", ref, len(rows))
	}
	return explain.Read(rows[n])
}

func (a *app) pastBuilds() *cobra.Command {
	var format string
	var filters []string
	cmd := &cobra.Command{
		Use:   "ls [OPTIONS]",
		Short: "List past builds",
		Args:  args(0, 0),
		RunE:  func(*cobra.Command, []string) error { return a.listPastBuilds(format, filters) },
	}
	fl := cmd.Flags()
	fl.StringVar(&format, "format", "", "`TEMPLATE` in Go's language, 'table TEMPLATE' or json; fields: .Ref .Name .Status .CreatedAt .Duration .Link")
	fl.Var((*listFlag)(&filters), "filter", "list only matching builds, as `KEY=VALUE`: status=completed or error, ref=ID")
	ignoredFlags(fl, nil, []string{"local", "no-trunc"})
	return cmd
}

func (a *app) listPastBuilds(format string, filters []string) error {
	want := map[string]string{}
	for _, text := range filters {
		key, value, ok := strings.Cut(text, "=")
		if !ok || key != "status" && key != "ref" {
			return usageError("--filter %s: it is one of status=…, ref=…", text)
		}
		want[key] = strings.ToLower(value)
	}
	s, err := a.open()
	if err != nil {
		return err
	}
	stored, err := s.Builds(-1)
	if err != nil {
		return err
	}
	var rows []human.Row
	for _, row := range stored {
		b, err := explain.Read(row)
		if err != nil {
			return err
		}
		r := pastBuildRow(b)
		if !strings.HasPrefix(strings.ToLower(r["Status"]), want["status"]) || !strings.HasPrefix(r["Ref"], want["ref"]) {
			continue
		}
		rows = append(rows, r)
		if format == "json" {
			if err := human.JSON(a.texts(), "", pastBuildSummary(b)); err != nil {
				return err
			}
		}
	}
	if format == "json" {
		return nil
	}
	return a.list(human.Listing{
		Headers: map[string]string{
			"Ref": "BUILD ID", "Name": "NAME", "Status": "STATUS", "CreatedAt": "CREATED AT", "Duration": "DURATION", "Link": "",
		},
		Default: []string{"Ref", "Name", "Status", "CreatedAt", "Duration"},
	}, format, rows)
}

func pastBuildRow(b *explain.Build) human.Row {
	r := human.Row{
		"Ref": b.ID, "Name": pastBuildName(b), "Status": "Completed", "CreatedAt": human.Since(b.Started),
		"Duration": explain.Seconds(b.Took), "Link": "",
	}
	if b.Error != "" {
		r["Status"] = "Error"
	}
	return r
}

// pastBuildName is what the person called the build, else its directory.
func pastBuildName(b *explain.Build) string {
	name := filepath.Base(b.Context)
	if b.Target != "" {
		name += " (" + b.Target + ")"
	}
	return human.Clean(cmp.Or(b.Name, name))
}

// buildRef is how buildx names a build: builder, node and ID.
func buildRef(b *explain.Build) string { return builderName + "/" + builderName + "/" + b.ID }

// pastBuildSummary is a line of buildx history ls --format json.
func pastBuildSummary(b *explain.Build) map[string]any {
	status := pastBuildRow(b)["Status"]
	return map[string]any{
		"ref": buildRef(b), "name": pastBuildName(b), "status": status, "created_at": b.Started.UTC().Format(time.RFC3339Nano),
		"completed_at": pastBuildEnd(b).UTC().Format(time.RFC3339Nano),
		"total_steps":  b.Total, "completed_steps": b.Total, "cached_steps": b.Hits,
	}
}

func pastBuildEnd(b *explain.Build) time.Time {
	return b.Started.Add(time.Duration(b.Took) * time.Millisecond)
}

// pastBuildDetails is what buildx history inspect shows, with buildx's names of the fields.
type pastBuildDetails struct {
	Name, Ref, Context, Dockerfile   string
	Target                           string    `json:",omitempty"`
	Platform                         []string  `json:",omitempty"`
	StartedAt, CompletedAt           time.Time //
	Duration                         time.Duration
	Status                           string
	Error                            *pastBuildError `json:",omitempty"`
	NumCompletedSteps, NumTotalSteps int
	NumCachedSteps                   int
}

type pastBuildError struct{ Message string }

func (a *app) pastBuild() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "inspect [OPTIONS] [REF]",
		Short: "Describe a past build",
		Args:  args(0, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			b, err := a.findPastBuild(first(args))
			if err != nil {
				return err
			}
			d := describePastBuild(b)
			switch format {
			case "", "pretty":
				return a.printPastBuild(&d)
			case "json":
				return human.JSON(a.texts(), "  ", d)
			}
			return human.Template(a.texts(), format, d)
		},
	}
	cmd.Flags().StringVar(&format, "format", "", "`TEMPLATE` in Go's language, pretty or json")
	return cmd
}

func describePastBuild(b *explain.Build) pastBuildDetails {
	d := pastBuildDetails{
		Name: pastBuildName(b), Ref: b.ID, Context: b.Context, Dockerfile: b.Dockerfile, Target: b.Target,
		StartedAt: b.Started, CompletedAt: pastBuildEnd(b), Duration: time.Duration(b.Took) * time.Millisecond, Status: "completed",
		NumCompletedSteps: b.Total, NumTotalSteps: b.Total, NumCachedSteps: b.Hits,
	}
	if b.Error != "" {
		d.Status, d.Error = "failed", &pastBuildError{b.Error}
	}
	return d
}

func (a *app) printPastBuild(d *pastBuildDetails) error {
	w := tabwriter.NewWriter(a.texts(), 1, 8, 1, '\t', 0)
	for _, line := range [][2]string{
		{"Name", d.Name}, {"Ref", d.Ref}, {"Context", d.Context}, {"Dockerfile", d.Dockerfile}, {"Target", d.Target},
	} {
		if line[1] != "" {
			fmt.Fprintf(w, "%s:\t%s\n", line[0], human.Clean(line[1]))
		}
	}
	fmt.Fprintf(w, "\nStarted:\t%s\nDuration:\t%s\n", d.StartedAt.Format(time.DateTime), explain.Seconds(d.Duration.Milliseconds()))
	if d.Error != nil {
		fmt.Fprintf(w, "Error:\t%s\n", human.Clean(d.Error.Message))
	}
	cached := 0
	if d.NumTotalSteps > 0 {
		cached = d.NumCachedSteps * 100 / d.NumTotalSteps
	}
	fmt.Fprintf(w, "Build Steps:\t%d/%d (%d%% cached)\n\nPrint what became of each step: strata explain %s\n", d.NumCompletedSteps, d.NumTotalSteps, cached, d.Ref)
	return w.Flush()
}

// pastBuildLogs prints what the steps of a past build printed.
func (a *app) pastBuildLogs() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "logs [OPTIONS] [REF]",
		Short: "Print what the steps of a past build printed",
		Args:  args(0, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			b, err := a.findPastBuild(first(args))
			if err != nil {
				return err
			}
			return a.printLogs(b, "")
		},
	}
	cmd.Flags().String("progress", "", "ignored: there is one form (`TYPE`)")
	return cmd
}

func (a *app) forgetBuilds() *cobra.Command {
	all := false
	cmd := &cobra.Command{
		Use:   "rm [OPTIONS] [REF...]",
		Short: "Forget past builds; images and cache stay",
		Args: func(_ *cobra.Command, refs []string) error {
			if all == (len(refs) > 0) {
				return usageError("buildx history rm takes either builds or --all")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, refs []string) error {
			s, err := a.open()
			if err != nil {
				return err
			}
			if all {
				return s.ForgetBuilds()
			}
			var failures []error
			for _, ref := range refs {
				b, err := a.findPastBuild(ref)
				if err == nil {
					err = s.ForgetBuilds(b.ID)
				}
				failures = append(failures, err)
			}
			return errors.Join(failures...)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "forget all builds")
	return cmd
}
