package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/strata-build/strata/internal/builder/source/address"
	"github.com/strata-build/strata/internal/builder/source/remote"
	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/look/vulnerability"
)

// vulndbGroup is `strata vulndb …`: the advisories that scan compares with. Alone it lists them.
func (a *app) vulndbGroup() *cobra.Command {
	cmd := group("vulndb", "Manage the advisories that strata scan compares packages with; alone, list them")
	cmd.RunE = func(*cobra.Command, []string) error { return a.runListAdvisories("") }
	cmd.AddCommand(a.listAdvisories(), a.importAdvisories(), a.updateAdvisories(), a.removeAdvisories())
	return cmd
}

func (a *app) listAdvisories() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:     "ls [OPTIONS]",
		Aliases: []string{"list"},
		Short:   "List the sources of advisories, with their ages",
		Args:    args(0, 0),
		RunE:    func(*cobra.Command, []string) error { return a.runListAdvisories(format) },
	}
	cmd.Flags().StringVar(&format, "format", "", "`TEMPLATE` in Go's language, 'table TEMPLATE' or json; fields: .Name .Advisories .Imported .Newest .Ecosystems .Origin")
	return cmd
}

func (a *app) runListAdvisories(format string) error {
	s, err := a.open()
	if err != nil {
		return err
	}
	d, err := vulnerability.OpenReadOnly(vulnerability.Path(s.Root()))
	if errors.Is(err, vulnerability.ErrEmpty) {
		return a.printSources(nil, format)
	}
	if err != nil {
		return err
	}
	defer d.Close()
	sources, err := d.Sources()
	if err != nil {
		return err
	}
	return a.printSources(sources, format)
}

func (a *app) printSources(sources []vulnerability.Source, format string) error {
	rows := []human.Row{}
	for i := range sources {
		s := &sources[i]
		imported := human.Since(s.Imported)
		if format == "" && s.Age(time.Now()) > vulnerability.Old {
			imported += " (old)"
		}
		rows = append(rows, human.Row{
			"Name": human.Clean(s.Name), "Advisories": strconv.Itoa(s.Advisories), "Imported": imported, "Newest": human.Since(s.Newest),
			"Ecosystems": human.Clean(strings.Join(s.Ecosystems, ", ")), "Origin": human.Clean(s.Origin),
		})
	}
	if format == "" {
		for _, r := range rows {
			r["Ecosystems"] = human.Shorten(r["Ecosystems"], 40)
		}
	}
	return a.list(human.Listing{
		Headers: map[string]string{
			"Name": "SOURCE", "Advisories": "ADVISORIES", "Imported": "IMPORTED", "Newest": "NEWEST ADVISORY", "Ecosystems": "ECOSYSTEMS", "Origin": "ORIGIN",
		},
		Default: []string{"Name", "Advisories", "Imported", "Newest", "Ecosystems", "Origin"},
	}, format, rows)
}

// advisories opens the store's database to write into it.
func (a *app) advisories() (*vulnerability.Database, error) {
	s, err := a.open()
	if err != nil {
		return nil, err
	}
	if s.ReadOnly() {
		return nil, fmt.Errorf("the store %s is read-only; set STRATA_ROOT to another folder", s.Root())
	}
	return vulnerability.Open(vulnerability.Path(s.Root()))
}

func (a *app) importAdvisories() *cobra.Command {
	return &cobra.Command{
		Use:   "import FILE|DIRECTORY|URL...",
		Short: "Import advisories of OSV, Debian's security tracker or Alpine's secdb",
		Long: `Import advisories in the place of those that were imported of the same source:
  - a zip of OSV documents, as osv.dev has one for each ecosystem; a directory of them; or a single one
  - Debian's security tracker: https://security-tracker.debian.org/tracker/data/json
  - a file of Alpine's secdb: https://secdb.alpinelinux.org/v3.22/main.json

The advisories are kept in vulnerabilities.db in the store's folder. strata vulndb update fetches those again that came from
a URL.`,
		Args: args(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.addAdvisories(cmd, args) },
	}
}

// addAdvisories imports files and URLs, one after the other. One that fails does not keep the others from it.
func (a *app) addAdvisories(cmd *cobra.Command, from []string) error {
	d, err := a.advisories()
	if err != nil {
		return err
	}
	defer d.Close()
	fetcher := remote.New(a.store)
	var failed []error
	for _, origin := range from {
		var s *vulnerability.Source
		if vulnerability.IsURL(origin) {
			s, err = fetchAdvisories(cmd.Context(), d, fetcher, origin)
		} else {
			s, err = d.Import(cmd.Context(), origin, origin)
		}
		if cmd.Context().Err() != nil {
			return cmd.Context().Err()
		}
		if err != nil {
			failed = append(failed, err)
			continue
		}
		fmt.Fprintf(a.stdout, "%s: %d advisories\n", human.Clean(s.Name), s.Advisories)
	}
	return errors.Join(failed...)
}

// fetchAdvisories imports what a URL has now. A server that has nothing new sends nothing.
func fetchAdvisories(ctx context.Context, d *vulnerability.Database, f *remote.Fetcher, url string) (*vulnerability.Source, error) {
	file, err := f.File(ctx, url, "")
	if err != nil {
		return nil, fmt.Errorf("%w; where there is no network, give the file to strata vulndb import", err)
	}
	return d.ImportFrom(ctx, file.Reader(), address.Redact(url))
}

func (a *app) updateAdvisories() *cobra.Command {
	return &cobra.Command{
		Use:   "update [ECOSYSTEM...]",
		Short: "Fetch advisories again",
		Long: `Fetch OSV's advisories of the ecosystems that are named: Debian, Alpine, PyPI, npm, Go, Maven, and others that osv.dev has.
Without any, fetch those again that came from a URL, or, where there are none, those of ` + strings.Join(vulnerability.DefaultEcosystems, ", ") + `.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			var urls []string
			for _, e := range args {
				urls = append(urls, vulnerability.FeedOf(e))
			}
			if len(urls) == 0 {
				d, err := a.advisories()
				if err != nil {
					return err
				}
				sources, err := d.Sources()
				d.Close()
				if err != nil {
					return err
				}
				urls = vulnerability.Origins(sources)
			}
			if len(urls) == 0 {
				for _, e := range vulnerability.DefaultEcosystems {
					urls = append(urls, vulnerability.FeedOf(e))
				}
			}
			return a.addAdvisories(cmd, urls)
		},
	}
}

func (a *app) removeAdvisories() *cobra.Command {
	return &cobra.Command{
		Use:   "rm SOURCE...",
		Short: "Remove sources of advisories",
		Args:  args(1, -1),
		RunE: func(_ *cobra.Command, args []string) error {
			d, err := a.advisories()
			if err != nil {
				return err
			}
			defer d.Close()
			for _, name := range args {
				found, err := d.Remove(name)
				if err != nil {
					return err
				}
				if !found {
					return fmt.Errorf("no source %s; strata vulndb ls lists them", name)
				}
				fmt.Fprintln(a.stdout, human.Clean(name))
			}
			return nil
		},
	}
}
