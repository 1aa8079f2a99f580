package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/strata-build/strata/internal/builder"
	"github.com/strata-build/strata/internal/builder/bake"
	"github.com/strata-build/strata/internal/builder/dialect"
	"github.com/strata-build/strata/internal/builder/subrequest"
	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/event/trace"
	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/image/platform"
	"github.com/strata-build/strata/internal/transfer"
)

// bakery builds the targets of a plan, all at once. Each is a build of its own, with its own record in `strata
// builds`, on the one store, where a step that several have is run by one of them and taken by the others.
type bakery struct {
	app     *app
	plan    *bake.Plan
	flags   *bakeFlags
	names   []string
	targets map[string]*bakedTarget
}

// bakedTarget is a target that is built.
type bakedTarget struct {
	name    string
	flags   *buildFlags
	request builder.Request
	method  subrequest.Method

	done   chan struct{} // closed when the rest is set
	result *builder.Result
	err    error
}

// targetError is the error of a target's build.
type targetError struct {
	name string
	err  error
}

func (e *targetError) Error() string { return "target " + e.name + ": " + e.err.Error() }
func (e *targetError) Unwrap() error { return e.err }

// errOther ends a build that would use the result of one that failed.
var errOther = errors.New("a target that it uses could not be built")

func (a *app) newBakery(ctx context.Context, plan *bake.Plan, f *bakeFlags, permits *permits) (*bakery, error) {
	b := &bakery{app: a, plan: plan, flags: f, names: slices.Sorted(maps.Keys(plan.Targets)), targets: map[string]*bakedTarget{}}
	config := a.readDockerConfig()
	for _, name := range b.names {
		t := &bakedTarget{name: name, done: make(chan struct{})}
		if err := t.prepare(plan.Targets[name], f, permits); err != nil {
			return nil, &targetError{name, err}
		}
		if f.metadata != "" {
			record(&t.request.Output.Attest)
		}
		a.equip(&t.request.Output.Attest)
		config.addProxies(t.request.Target.Args)
		t.request.Sandbox.Log = stepLog()
		t.request.Output.File = func(dest string, write func(io.Writer) error) error { return a.writeTo(ctx, dest, write) }
		b.targets[name] = t
	}
	for _, name := range b.names {
		if err := b.connect(b.targets[name]); err != nil {
			return nil, &targetError{name, err}
		}
	}
	return b, nil
}

// connect makes the contexts that are other targets' results. What only answers a --call builds nothing: they are
// empty there.
func (b *bakery) connect(t *bakedTarget) error {
	for name, used := range b.plan.Targets[t.name].Uses() {
		if t.method.Name != subrequest.Build {
			spec, err := builder.ParseContextSpec(name + "=docker-image://scratch")
			if err != nil {
				return err
			}
			t.request.Source.Contexts = append(t.request.Source.Contexts, spec)
			continue
		}
		spec, err := builder.NewOtherContext(name, &builder.Other{Name: used, Image: b.targets[used].image})
		if err != nil {
			return fmt.Errorf("context %s: %w", name, err)
		}
		t.request.Source.Contexts = append(t.request.Source.Contexts, spec)
	}
	return nil
}

// image waits for the target's build.
func (t *bakedTarget) image(ctx context.Context, want ocispec.Platform) (digest.Digest, error) {
	select {
	case <-t.done:
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	if t.err != nil {
		return "", errOther
	}
	id, ok := t.result.ImageFor(want)
	if !ok {
		return "", fmt.Errorf("target %s is not built for %s: add it to its platforms", t.name, platform.Format(want))
	}
	return id, nil
}

func (b *bakery) run(ctx context.Context) error {
	a := b.app
	began := time.Now()
	limit, err := cacheLimit()
	if err != nil {
		return err
	}
	if lazy := lazyByDefault(); !b.silent() {
		for _, line := range lazy.warnings() {
			fmt.Fprintln(a.stderr, "WARNING: "+printable(line))
		}
	}
	if err := b.buildAll(ctx); err != nil {
		return err
	}
	defer a.keepLimit(limit, began, b.silent())
	if b.flags.metadata != "" {
		if err := b.writeMetadata(); err != nil {
			return err
		}
	}
	return b.answerAll(ctx)
}

func (b *bakery) silent() bool {
	return b.flags.quiet || b.flags.progress == "none" || b.flags.progress == "quiet"
}

// buildAll builds what is not only asked a question of, and prints what is to be said of it.
func (b *bakery) buildAll(ctx context.Context) error {
	var wanted []*bakedTarget
	for _, name := range b.names {
		if t := b.targets[name]; t.method.Name == subrequest.Build {
			wanted = append(wanted, t)
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	display, m, err := b.app.watch(dialect.Graph(), wanted[0].flags)
	if err != nil {
		return err
	}
	span, counts := b.app.beginTrace("bake"), b.app.counted()
	g, gctx := errgroup.WithContext(ctx)
	for _, t := range wanted {
		var events event.Sink = display
		if len(wanted) > 1 {
			events = event.BelongTo(display, t.name)
		}
		events = counts.Sink(events)
		g.Go(func() error {
			began, span := time.Now(), span.Begin("target "+t.name)
			err := t.build(gctx, m, events, span)
			counts.End(time.Since(began), err)
			return err
		})
	}
	err = g.Wait()
	span.End(err)
	display.Close(err)
	for _, t := range wanted {
		b.app.writeFindings(t.result.Findings, t.request, t.flags)
	}
	if failed := firstFailed(wanted); failed != nil {
		return b.app.buildFailed(failed.request, &targetError{failed.name, failed.err})
	}
	for _, t := range wanted {
		for _, line := range t.result.Notes {
			if !b.silent() {
				fmt.Fprintln(b.app.stderr, human.Clean(line))
			}
		}
	}
	return nil
}

// build builds the target, and ends its span.
func (t *bakedTarget) build(ctx context.Context, m *transfer.Mover, events event.Sink, span *trace.Span) error {
	r, recorder := t.request, trace.Build(span)
	r.Events = recorder.Sink(events)
	leave, err := t.flags.fleet.join(ctx, m, &r, func(line string) { events.Send(event.Warning{Text: line}) })
	if err == nil {
		t.result, err = builder.Run(trace.With(ctx, recorder), m, r)
		leave()
	}
	if t.err = err; t.result == nil {
		t.result = &builder.Result{}
	}
	recorder.Close()
	span.End(t.err)
	close(t.done)
	return t.err
}

// firstFailed is the target whose build failed by itself: others end because of it.
func firstFailed(targets []*bakedTarget) (failed *bakedTarget) {
	for _, t := range targets {
		switch {
		case t.err == nil:
		case !errors.Is(t.err, errOther) && !errors.Is(t.err, context.Canceled):
			return t
		case failed == nil:
			failed = t
		}
	}
	return failed
}

// writeMetadata writes the file of --metadata-file, by target.
func (b *bakery) writeMetadata() error {
	all := map[string]any{}
	for name, t := range b.targets {
		if t.result != nil && t.result.Exported != nil {
			all[name] = metadata(t.result)
		}
	}
	return writeJSON(b.flags.metadata, all)
}

// answerAll prints the answers to --call, and to the call of targets.
func (b *bakery) answerAll(ctx context.Context) error {
	asked, err := subrequest.ParseMethod(b.flags.call)
	if err != nil {
		return err
	}
	answers := map[string]map[string]any{}
	code, printed := 0, false
	for _, name := range b.names {
		t := b.targets[name]
		if t.method.Name == subrequest.Build {
			continue
		}
		var text bytes.Buffer
		t.method.JSON, t.method.IgnoreStatus = asked.JSON, asked.IgnoreStatus
		failed, err := b.answer(ctx, t, &text)
		if err != nil {
			return err
		}
		if failed {
			code = exitError
		}
		if asked.JSON {
			answers[name] = map[string]any{"build": b.plan.Targets[name], t.method.Name: json.RawMessage(text.Bytes())}
			continue
		}
		if printed {
			fmt.Fprintln(b.app.stdout)
		}
		printed = true
		fmt.Fprintln(b.app.stdout, name)
		if d := b.plan.Targets[name].Description; d != "" {
			fmt.Fprintln(b.app.stdout, printable(d))
		}
		fmt.Fprintf(b.app.stdout, "\n%s", printable(text.String()))
	}
	if asked.JSON && len(answers) > 0 {
		e := json.NewEncoder(b.app.texts())
		e.SetIndent("", "  ")
		out := struct {
			Group  map[string]*bake.Group    `json:"group,omitempty"`
			Target map[string]map[string]any `json:"target"`
		}{b.plan.Groups, answers}
		if err := e.Encode(out); err != nil {
			return err
		}
	}
	if code != 0 {
		return &exit{code: code}
	}
	return nil
}

// answer writes the answer of a target, and says whether it is one that fails.
func (b *bakery) answer(ctx context.Context, t *bakedTarget, w io.Writer) (failed bool, err error) {
	display, m, err := b.app.watch(dialect.Graph(), t.flags)
	if err != nil {
		return false, err
	}
	r := t.request
	r.Events, r.Cache.From = display, nil
	answer, unchecked, err := ask(ctx, t.method, m, r)
	display.Close(err)
	if err != nil {
		return false, b.app.buildFailed(r, &targetError{t.name, err})
	}
	b.app.tellUnchecked(unchecked, t.flags)
	write := answer.Write
	if t.method.JSON {
		write = answer.WriteJSON
	}
	if err := write(w); err != nil {
		return false, err
	}
	findings, ok := answer.(*subrequest.Findings)
	if !ok {
		return false, nil
	}
	if err := writePrintable(b.app.stderr, findings.WriteFailure); err != nil {
		return false, err
	}
	return findings.Error != nil || !findings.Clean() && !t.method.IgnoreStatus, nil
}
