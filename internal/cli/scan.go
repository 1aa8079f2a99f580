package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/look/anatomy"
	"github.com/strata-build/strata/internal/look/external"
	"github.com/strata-build/strata/internal/look/packages"
	"github.com/strata-build/strata/internal/look/view"
	"github.com/strata-build/strata/internal/look/vulnerability"
)

type scanFlags struct {
	failOn, severity     string
	filters, ignore, vex []string
	asJSON, sarif        bool
	onlyFixed            bool
	with                 string
}

func (a *app) scan() *cobra.Command {
	f := &scanFlags{}
	cmd := &cobra.Command{
		Use:   "scan [OPTIONS] IMAGE",
		Short: "Show known vulnerabilities of an image's packages, and the instructions to change",
		Long: `Compare the packages of an image with the advisories that strata vulndb has imported, without a network: each
vulnerability with its severity, the version in which it is fixed, and the layer and instruction that brought the package.

With --fail-on, the exit code is 1 if a vulnerability that is shown is at least as severe. Packages that could not be
compared are named, and advisories older than a week.

` + imageHelp,
		Args: args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.runScan(cmd.Context(), args[0], f) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.failOn, "fail-on", "", "end with 1 if there is a vulnerability of this `SEVERITY` or above: negligible, low, medium, high, critical")
	fl.StringVar(&f.severity, "severity", "", "show only this `SEVERITY` and above")
	fl.Var((*listFlag)(&f.filters), "filter", "show only matching packages, as `KEY=VALUE`: type=dpkg, name=PATTERN, ecosystem=NAME, layer=NUMBER, base=true or false")
	fl.Var((*listFlag)(&f.ignore), "ignore-file", "leave out what a YAML `FILE` names with a reason, and perhaps an end date")
	fl.Var((*listFlag)(&f.vex), "vex", "leave out what an OpenVEX `FILE` says is not affected or fixed")
	fl.BoolVar(&f.onlyFixed, "only-fixed", false, "show only what is fixed in a later version")
	fl.BoolVar(&f.asJSON, "json", false, "print JSON")
	fl.BoolVar(&f.sarif, "sarif", false, "print SARIF, for code hosts")
	fl.StringVar(&f.with, "with", "", "have another `PROGRAM`, which is installed, find the vulnerabilities by its advisories: grype or trivy")
	cmd.MarkFlagsMutuallyExclusive("json", "sarif")
	return cmd
}

// scanRules are the files and limits of a scan, read before anything is looked at.
type scanRules struct {
	failOn, severity vulnerability.Level
	filter           packages.Filter
	ignore           []*vulnerability.IgnoreFile
	vex              []*vulnerability.VEX
}

func (f *scanFlags) rules() (r scanRules, err error) {
	if err := checkWith(f.with, external.Scanners); err != nil {
		return r, err
	}
	for _, l := range []struct {
		flag, text string
		level      *vulnerability.Level
	}{{"--fail-on", f.failOn, &r.failOn}, {"--severity", f.severity, &r.severity}} {
		if l.text == "" {
			continue
		}
		if *l.level, err = vulnerability.ParseLevel(l.text); err != nil {
			return r, usageError("%s: %v", l.flag, err)
		}
	}
	if r.filter, err = packages.ParseFilter(f.filters); err != nil {
		return r, &exit{exitUsage, err}
	}
	for _, path := range f.ignore {
		file, err := vulnerability.ReadIgnoreFile(path)
		if err != nil {
			return r, err
		}
		r.ignore = append(r.ignore, file)
	}
	for _, path := range f.vex {
		document, err := vulnerability.ReadVEX(path)
		if err != nil {
			return r, err
		}
		r.vex = append(r.vex, document)
	}
	return r, nil
}

// vulnerabilities are what is known of an image's vulnerabilities, by the advisories here or by another program, with.
func (a *app) vulnerabilities(ctx context.Context, im *anatomy.Image, with string) (*vulnerability.Report, error) {
	if with != "" {
		m, err := a.mover()
		if err != nil {
			return nil, err
		}
		return external.Scan(ctx, m, im, with)
	}
	d, err := vulnerability.OpenReadOnly(vulnerability.Path(a.store.Root()))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	inv, err := packages.Of(ctx, im)
	if err != nil {
		return nil, err
	}
	return d.Scan(ctx, inv)
}

func (a *app) runScan(ctx context.Context, name string, f *scanFlags) error {
	rules, err := f.rules()
	if err != nil {
		return err
	}
	return a.look(ctx, name, func(im *anatomy.Image) error {
		report, err := a.vulnerabilities(ctx, im, f.with)
		if err != nil {
			return err
		}
		now := time.Now()
		for _, v := range rules.vex {
			v.Apply(report)
		}
		for _, file := range rules.ignore {
			for _, line := range file.Apply(report, now) {
				fmt.Fprintln(a.stderr, "WARNING:", human.Clean(line))
			}
		}
		report.Keep(rules.filter, rules.severity)
		if f.onlyFixed {
			report.KeepFixed()
		}
		update := "strata vulndb update"
		if f.with != "" {
			update = f.with + " db update"
		}
		if oldest := report.Oldest(now); oldest != nil && oldest.Age(now) > vulnerability.Old {
			fmt.Fprintf(a.stderr, "WARNING: what %s knows is %d days old: %s\n", human.Clean(oldest.Name), int(oldest.Age(now).Hours()/24), update)
		}
		switch {
		case f.asJSON:
			err = human.JSON(a.stdout, "  ", report)
		case f.sarif:
			err = human.JSON(a.stdout, "  ", report.SARIF(a.version))
		default:
			err = a.page(func(p *view.Printer) error {
				report.Print(p, now)
				return nil
			})
		}
		if err == nil && f.failOn != "" && report.Reaches(rules.failOn) {
			return &exit{code: exitError}
		}
		return err
	})
}
