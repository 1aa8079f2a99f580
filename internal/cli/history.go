package cli

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/strata-build/strata/internal/cache/local"
	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/look/history"
	"github.com/strata-build/strata/internal/store"
)

type historyFlags struct {
	noTrunc, human, quiet, docker, dockerfile bool
	format, platform                          string
}

func (a *app) history() *cobra.Command {
	f := &historyFlags{}
	cmd := &cobra.Command{
		Use:   "history [OPTIONS] IMAGE|STEP-ID",
		Short: "Show the history of an image, each row with an ID that can be entered",
		Args:  args(1, 1),
		RunE:  func(_ *cobra.Command, args []string) error { return a.runHistory(args[0], f) },
	}
	fl := cmd.Flags()
	fl.BoolVar(&f.noTrunc, "no-trunc", false, "do not shorten IDs and texts")
	fl.BoolVarP(&f.human, "human", "H", true, "print sizes and times in human-readable form")
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "print IDs only")
	fl.StringVar(&f.format, "format", "", "`TEMPLATE` in Go's language, 'table TEMPLATE' or json; fields: .ID .CreatedAt .CreatedSince .CreatedBy .Size .Comment .Layer .Fetched")
	onlyPlatformFlag(fl, &f.platform)
	fl.BoolVar(&f.docker, "docker", false, "print the same as docker, with <missing> for the IDs that it does not have")
	fl.BoolVar(&f.dockerfile, "dockerfile", false, "print the instructions as a Dockerfile")
	cmd.MarkFlagsMutuallyExclusive("dockerfile", "format")
	return cmd
}

func (a *app) runHistory(name string, f *historyFlags) error {
	only, err := parseOnlyPlatform(f.platform)
	if err != nil {
		return err
	}
	c, err := a.findOnly(name, only)
	if err != nil {
		return err
	}
	rows, err := history.Listed(a.store, c.ID)
	if err != nil {
		return err
	}
	if f.dockerfile {
		if err := addWritten(a.store, rows); err != nil {
			return err
		}
		text := history.Dockerfile(rows)
		if human.IsTerminal(a.stdout.File) {
			text = printable(text)
		}
		_, err := fmt.Fprint(a.stdout, text)
		return err
	}
	cells := make([]human.Row, 0, len(rows))
	layers, fetching := 0, 0
	for i := len(rows) - 1; i >= 0; i-- {
		if rows[i].DiffID != "" {
			layers++
		}
		c := f.cells(&rows[i])
		if c["Fetched"], err = fetched(a.store, &rows[i]); err != nil {
			return err
		}
		if c["Fetched"] != "-" {
			fetching++
		}
		cells = append(cells, c)
	}
	if f.quiet {
		return a.printColumn("ID", cells)
	}
	l := human.Listing{
		Headers: map[string]string{
			"ID": "IMAGE", "CreatedAt": "CREATED AT", "CreatedSince": "CREATED", "CreatedBy": "CREATED BY",
			"Size": "SIZE", "Comment": "COMMENT", "Layer": "LAYER", "Fetched": "FETCHED",
		},
		Default: []string{"ID", "CreatedSince", "CreatedBy", "Size", "Comment", "Layer"},
	}
	if !f.human {
		l.Default[1] = "CreatedAt"
	}
	switch {
	case f.docker:
		l.Default = l.Default[:5]
	case fetching > 0:
		l.Default = append(l.Default, "Fetched")
	}
	if err := a.list(l, f.format, cells); err != nil {
		return err
	}
	if !f.docker && f.format == "" && human.IsTerminal(a.stdout.File) {
		fmt.Fprintf(a.stderr, "%d rows, %d of them with a layer; the others only change the configuration.\n", len(rows), layers)
	}
	return nil
}

func (f *historyFlags) cells(row *history.Row) human.Row {
	created := time.Time{}
	if row.History.Created != nil {
		created = *row.History.Created
	}
	r := human.Row{
		"ID":           string(row.ID),
		"CreatedAt":    created.UTC().Format(time.RFC3339),
		"CreatedSince": human.Since(created),
		"CreatedBy":    human.Clean(row.History.CreatedBy),
		"Size":         human.Size(row.Size),
		"Comment":      human.Clean(row.History.Comment),
		"Layer":        "-",
	}
	if row.DiffID != "" {
		r["Layer"] = string(row.DiffID)
	}
	if !f.human {
		r["Size"] = strconv.FormatInt(row.Size, 10)
		r["CreatedSince"] = r["CreatedAt"]
	}
	if !f.noTrunc {
		r["ID"] = image.ShortID(row.ID)
		r["CreatedBy"] = human.Shorten(r["CreatedBy"], 45)
		if row.DiffID != "" {
			r["Layer"] = image.ShortID(row.DiffID)
		}
	}
	if f.docker && !row.Docker || row.ID == "" {
		r["ID"] = "<missing>"
	}
	return r
}

// addWritten fills in what the records of the steps that were built here tell of their instructions.
func addWritten(s *store.Store, rows []history.Row) error {
	for i, row := range rows {
		if row.DiffID == "" || row.History.Created == nil {
			continue
		}
		r, err := local.Made(s, row.DiffID, *row.History.Created)
		if err != nil {
			return err
		}
		if r != nil {
			rows[i].Written = cmp.Or(r.Written, r.Instruction)
		}
	}
	return nil
}

// fetched returns the FETCHED column of a row: for a step that downloads from the network, when it
// last ran and how this is known; "-" for other rows.
func fetched(s *store.Store, row *history.Row) (string, error) {
	if row.DiffID == "" || row.History.Created == nil {
		return "-", nil
	}
	r, err := local.Made(s, row.DiffID, *row.History.Created)
	if err != nil {
		return "", err
	}
	if r == nil || r.Fetches == "" {
		return "-", nil
	}
	return human.Since(time.Now().Add(-r.Age())) + " " + r.Source(), nil
}

// list prints rows in the columns of a listing, or by a template.
func (a *app) list(l human.Listing, format string, rows []human.Row) error {
	if err := l.Write(a.texts(), format, rows); err != nil {
		return &exit{exitError, err}
	}
	return nil
}

// printColumn prints one column without a header, for -q.
func (a *app) printColumn(name string, rows []human.Row) error {
	var b strings.Builder
	for _, r := range rows {
		b.WriteString(r[name])
		b.WriteByte('\n')
	}
	_, err := fmt.Fprint(a.texts(), b.String())
	return err
}
