// Package external has other programs that are installed on this machine look into an image: syft for its packages, grype and
// trivy for its vulnerabilities. They get the image as an OCI layout in a folder that is removed afterwards; what they say is put
// beside what strata knows of the image, so that each package has the instruction that brought it.
package external

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	layerpackages "github.com/strata-build/strata/internal/layer/packages"
	"github.com/strata-build/strata/internal/look/anatomy"
	"github.com/strata-build/strata/internal/look/packages"
	"github.com/strata-build/strata/internal/look/vulnerability"
	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/transfer"
)

// tool is a program and how it is asked about an OCI layout.
type tool struct {
	name, site string
	args       func(layout string) []string
	read       func(output []byte) (*said, error)
}

var (
	listers = []tool{
		{"syft", "https://github.com/anchore/syft", func(layout string) []string { return []string{"scan", "-o", "json", "oci-dir:" + layout} }, readSyft},
	}
	scanners = []tool{
		{"grype", "https://github.com/anchore/grype", func(layout string) []string { return []string{"-o", "json", "oci-dir:" + layout} }, readGrype},
		{"trivy", "https://github.com/aquasecurity/trivy", func(layout string) []string {
			return []string{"image", "--no-progress", "--scanners", "vuln", "--format", "json", "--input", layout}
		}, readTrivy},
	}
)

// Listers and Scanners are the names of the programs that Packages and Scan ask.
var (
	Listers  = names(listers)
	Scanners = names(scanners)
)

func names(tools []tool) (all []string) {
	for _, t := range tools {
		all = append(all, t.name)
	}
	return all
}

// said is what a program says.
type said struct {
	artifacts []artifact
	matches   []match
	source    vulnerability.Source // its advisories, the zero Source where it says nothing of them
}

// artifact is a package that a program found.
type artifact struct {
	layerpackages.Package
	purl, path string
	layer      digest.Digest // diffID, "" where it is not said
}

// match is a vulnerability that a program found in a package.
type match struct {
	artifact
	advisory vulnerability.Advisory
	fixed    string
}

// maxOutput bounds what a program may say, in bytes. syft says 3 MB of an image with 500 packages.
const maxOutput = 128 << 20

// Packages are those that a program of Listers finds in an image of the store.
func Packages(ctx context.Context, m *transfer.Mover, im *anatomy.Image, name string) (*packages.Inventory, error) {
	out, known, err := ask(ctx, m, im, listers, name)
	if err != nil {
		return nil, err
	}
	inv := &packages.Inventory{Image: known.inv.Image, ID: known.inv.ID, Distribution: known.inv.Distribution, Packages: []packages.Package{}}
	for i := range out.artifacts {
		inv.Packages = append(inv.Packages, known.of(&out.artifacts[i]))
	}
	inv.Sort()
	return inv, nil
}

// Scan is what a program of Scanners finds in an image of the store.
func Scan(ctx context.Context, m *transfer.Mover, im *anatomy.Image, name string) (*vulnerability.Report, error) {
	out, known, err := ask(ctx, m, im, scanners, name)
	if err != nil {
		return nil, err
	}
	r := &vulnerability.Report{Image: known.inv.Image, ID: known.inv.ID, Findings: []vulnerability.Finding{}, Sources: []vulnerability.Source{}}
	for i := range out.matches {
		f := &out.matches[i]
		r.Findings = append(r.Findings, vulnerability.Finding{Advisory: f.advisory, Package: known.of(&f.artifact), Fixed: f.fixed, Sources: []string{name}})
	}
	r.Sort()
	if !out.source.Imported.IsZero() {
		r.Sources = append(r.Sources, out.source)
	}
	return r, nil
}

// ask runs a program on an image.
func ask(ctx context.Context, m *transfer.Mover, im *anatomy.Image, tools []tool, name string) (*said, *known, error) {
	at := slices.IndexFunc(tools, func(t tool) bool { return t.name == name })
	if at < 0 {
		return nil, nil, fmt.Errorf("--with %s: it is %s", name, strings.Join(names(tools), " or "))
	}
	t := &tools[at]
	program, err := exec.LookPath(t.name)
	if err != nil {
		return nil, nil, fmt.Errorf("%s is not installed (%w): get it from %s, or leave out --with", t.name, err, t.site)
	}
	inv, err := packages.Of(ctx, im)
	if err != nil {
		return nil, nil, err
	}
	layout, err := m.Store.Scratch("layout")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(layout)
	oci := true
	item := transfer.Item{ID: im.ID, Packing: transfer.Packing{OCI: &oci}, Platform: im.Config.Platform}
	if _, err := m.SaveDirectory(ctx, layout, transfer.Bundle{Items: []transfer.Item{item}}, nil); err != nil {
		var unavailable *store.UnavailableError
		if errors.Is(err, store.ErrNotFound) || errors.As(err, &unavailable) {
			return nil, nil, fmt.Errorf("%s is not in the store, and so %s cannot look into it (%w): strata pull or strata load it first", im.Text, t.name, err)
		}
		return nil, nil, fmt.Errorf("writing %s for %s: %w", im.Text, t.name, err)
	}
	output, err := run(ctx, program, t.args(layout))
	if err != nil {
		return nil, nil, fmt.Errorf("running %s: %w", t.name, err)
	}
	out, err := t.read(output)
	if err != nil {
		return nil, nil, fmt.Errorf("reading what %s says: %w; is it a version that strata does not know?", t.name, err)
	}
	return out, newKnown(im, inv), nil
}

// maxLog is how much of a program's messages an error shows, in bytes: the end.
const maxLog = 2000

// waitDelay is how long what a program has started may keep its output open after it has ended: one that is a wrapper may leave
// another in the background.
const waitDelay = 2 * time.Second

// run runs a program and returns what it prints.
func run(ctx context.Context, program string, args []string) ([]byte, error) {
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(running, program, args...)
	cmd.WaitDelay = waitDelay
	log, out := &tail{}, &bounded{most: maxOutput, over: cancel}
	cmd.Stderr, cmd.Stdout = log, out
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err() // and not that it was killed for that
	case out.err != nil:
		return nil, out.err
	case err != nil && !errors.Is(err, exec.ErrWaitDelay): // what it said is whole, or no JSON
		if text := bytes.TrimSpace(log.text[max(0, len(log.text)-maxLog):]); len(text) > 0 {
			err = fmt.Errorf("%w\n%s", err, text)
		}
		return nil, err
	}
	return out.text, nil
}

// bounded keeps what is written to it, up to so many bytes; then it calls over.
type bounded struct {
	text []byte
	most int
	over func()
	err  error
}

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	if len(b.text)+len(p) > b.most {
		b.err = fmt.Errorf("it says more than %d MiB", b.most>>20)
		b.over()
		return 0, b.err
	}
	b.text = append(b.text, p...)
	return len(p), nil
}

// tail keeps the end of what is written to it.
type tail struct{ text []byte }

// Write implements io.Writer.
func (t *tail) Write(b []byte) (int, error) {
	t.text = append(t.text, b...)
	if len(t.text) > 2*maxLog {
		t.text = slices.Clone(t.text[len(t.text)-maxLog:])
	}
	return len(b), nil
}

// known is what strata knows of an image's packages.
type known struct {
	inv     *packages.Inventory
	byName  map[[3]string]*packages.Package
	origins map[digest.Digest]packages.Origin
}

func newKnown(im *anatomy.Image, inv *packages.Inventory) *known {
	k := &known{inv, map[[3]string]*packages.Package{}, map[digest.Digest]packages.Origin{}}
	for i := range inv.Packages {
		p := &inv.Packages[i]
		k.byName[[3]string{p.Manager, p.Name, p.Version}] = p
	}
	for _, o := range packages.Origins(im) {
		k.origins[o.DiffID] = o
	}
	return k
}

// of is a package as strata knows it, with the layer that brought it in this version, or else as the program says it, with the
// layer that it names: the one in which the file that tells of it was written last.
func (k *known) of(a *artifact) packages.Package {
	if p := k.byName[[3]string{a.Manager, a.Name, a.Version}]; p != nil {
		return *p
	}
	p := packages.New(a.Package, k.inv.Distribution)
	p.Path, p.Layer = a.path, k.origins[a.layer]
	if a.purl != "" {
		p.PURL = a.purl
	}
	return p
}
