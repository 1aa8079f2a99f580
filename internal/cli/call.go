package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"

	"github.com/strata-build/strata/internal/builder"
	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/builder/subrequest"
	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/transfer"
)

// answerer is the answer to a --call, as text and as JSON.
type answerer interface {
	Write(io.Writer) error
	WriteJSON(io.Writer) error
}

// answer prints the answer to --call on standard output, and the progress on standard error.
func (a *app) answer(ctx context.Context, method subrequest.Method, r builder.Request, f *buildFlags) error {
	if !r.Target.Dialect.Output.BuildKitOptions {
		return usageError("--call and --check need the graph engine: leave out --engine classic and DOCKER_BUILDKIT=0")
	}
	if os.Geteuid() != 0 {
		done, err := a.openTemporary()
		if err != nil {
			return err
		}
		defer done()
	}
	display, m, err := a.watch(r.Target.Dialect, f)
	if err != nil {
		return err
	}
	r.Events = display
	r.Cache.From = nil
	answer, unchecked, err := ask(ctx, method, m, r)
	display.Close(err)
	if err != nil {
		return a.buildFailed(r, err)
	}
	if f.output.metadata != "" {
		if err := writeAnswer(f.output.metadata, answer); err != nil {
			return err
		}
	}
	a.tellUnchecked(unchecked, f)
	if method.JSON {
		err = answer.WriteJSON(a.texts())
	} else {
		err = writePrintable(a.stdout, answer.Write)
	}
	if err != nil {
		return err
	}
	if findings, ok := answer.(*subrequest.Findings); ok {
		if err := writePrintable(a.stderr, findings.WriteFailure); err != nil {
			return err
		}
		if findings.Error != nil || !findings.Clean() && !method.IgnoreStatus {
			return &exit{code: exitError}
		}
	}
	return nil
}

// tellUnchecked says what an answer had to do without.
func (a *app) tellUnchecked(unchecked []string, f *buildFlags) {
	if f.silent() {
		return
	}
	for _, line := range unchecked {
		fmt.Fprintln(a.stderr, "strata:", printable(line))
	}
}

// openTemporary opens a store that is gone after done: what looks at a Dockerfile only, such as an editor or a
// commit hook, needs no root and leaves nothing.
func (a *app) openTemporary() (done func(), err error) {
	dir, err := os.MkdirTemp("", "strata-")
	if err != nil {
		return nil, fmt.Errorf("making a temporary store: %w; set TMPDIR to a directory that can be written to", err)
	}
	if a.store, err = store.Open(dir); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	return func() {
		_ = a.store.Leave() // of no use to anyone
		a.store = nil
		os.RemoveAll(dir)
	}, nil
}

// writeAnswer writes the --metadata-file of an answer.
func writeAnswer(path string, answer answerer) error {
	m, err := subrequest.Metadata(answer)
	if err != nil {
		return err
	}
	return writeJSON(path, m)
}

// ask gets the answer, and a line for each base image that it had to do without.
func ask(ctx context.Context, method subrequest.Method, m *transfer.Mover, r builder.Request) (answerer, []string, error) {
	switch method.Name {
	case subrequest.Check:
		return builder.Check(ctx, m, r)
	case subrequest.Outline:
		return builder.Outline(ctx, m, r)
	}
	list, err := builder.Targets(ctx, m, r)
	return list, nil, err
}

// writeFindings prints the findings of the build checks after a build, in buildx's words.
func (a *app) writeFindings(findings builder.Findings, r builder.Request, f *buildFlags) {
	found := findings.Found
	if len(found) == 0 || f.silent() || f.progress == "rawjson" || !r.Target.Dialect.File.Lint {
		return
	}
	count := "1 warning found"
	if len(found) > 1 {
		count = fmt.Sprintf("%d warnings found", len(found))
	}
	if !f.debug {
		count += " (use --debug to expand)"
	}
	fmt.Fprintf(a.stderr, "\n %s:\n", count)
	for _, w := range found {
		fmt.Fprintf(a.stderr, " - %s\n", printable(w.String()))
		if f.debug {
			_ = writePrintable(a.stderr, subrequest.NewFindings(findings.Name, findings.Source, []dockerfile.Warning{w}, nil).WriteDetails)
		}
	}
}

// writePrintable writes a text that quotes a Dockerfile. Control characters are replaced, since the
// Dockerfile can be a third party's.
func writePrintable(w io.Writer, write func(io.Writer) error) error {
	var text bytes.Buffer
	if err := write(&text); err != nil {
		return err
	}
	_, err := io.WriteString(w, printable(text.String()))
	return err
}
