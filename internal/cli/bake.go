package cli

import (
	"context"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/strata-build/strata/internal/builder/bake"
	"github.com/strata-build/strata/internal/builder/subrequest"
	"github.com/strata-build/strata/internal/image/platform"
)

// bake is `strata bake`, and `strata buildx bake`.
func (a *app) bake() *cobra.Command {
	f := &bakeFlags{}
	cmd := &cobra.Command{
		Use:   "bake [OPTIONS] [URL] [TARGET...]",
		Short: "Build the targets of a bake file or of a Compose file",
		RunE:  func(cmd *cobra.Command, args []string) error { return a.runBake(cmd.Context(), args, f) },
	}
	f.register(cmd.Flags())
	return cmd
}

func (a *app) runBake(ctx context.Context, args []string, f *bakeFlags) error {
	if f.print && f.list != "" {
		return usageError("--print and --list: take one of them")
	}
	if f.policy != "" {
		return usageError("--policy: source policies are not supported; name base images by their digests")
	}
	if _, err := subrequest.ParseMethod(f.call); err != nil {
		return &exit{exitUsage, err}
	}
	definition, command, targets := bake.Arguments(args)
	vars, err := f.variables()
	if err != nil {
		return err
	}
	files, err := a.bakeFiles(ctx, definition, f)
	if err != nil {
		return err
	}
	config, err := bake.Parse(files, bake.Environment{Vars: vars, Builtin: map[string]string{
		"BAKE_CMD_CONTEXT": command, "BAKE_LOCAL_PLATFORM": platform.Format(platform.Local()),
	}})
	if err != nil {
		return err
	}
	if f.list != "" {
		list, err := bake.ParseList(f.list)
		if err != nil {
			return usageError("--list: %w", err)
		}
		return list.Write(a.texts(), config)
	}
	plan, err := config.Plan(targets, f.overrides())
	if err != nil {
		return err
	}
	if definition != "" {
		plan.From(definition)
	}
	permits, err := newPermits(f.allow, definition)
	if err != nil {
		return err
	}
	return a.runPlan(ctx, plan, f, permits)
}

// runPlan prints or builds the targets of a plan.
func (a *app) runPlan(ctx context.Context, plan *bake.Plan, f *bakeFlags, permits *permits) error {
	if epoch := os.Getenv(sourceDateEpoch); epoch != "" {
		plan.SetArgument(sourceDateEpoch, epoch)
	}
	if f.print {
		return plan.Print(a.texts())
	}
	if permits != nil {
		if err := a.permit(ctx, permits, plan); err != nil {
			return err
		}
	}
	r, err := a.newBakery(ctx, plan, f, permits)
	if err != nil {
		return err
	}
	return r.run(ctx)
}

// bakeFiles reads the definitions: of this machine, of a URL, or of both: then -f cwd://FILE is one of this machine.
func (a *app) bakeFiles(ctx context.Context, url string, f *bakeFlags) ([]bake.File, error) {
	names := f.files
	if len(names) == 0 {
		names = filesOfEnvironment()
	}
	if url == "" {
		for i, name := range names {
			names[i] = bake.Path(name)
		}
		return bake.ReadFiles(names, a.definitionInput(ctx, names))
	}
	var there, here []string
	for _, name := range names {
		if path := bake.Path(name); path != name {
			here = append(here, path)
		} else {
			there = append(there, name)
		}
	}
	files, err := a.remoteDefinitions(ctx, url, there, f)
	if err != nil || len(here) == 0 {
		return files, err
	}
	local, err := bake.ReadFiles(here, a.definitionInput(ctx, here))
	return append(files, local...), err
}

// definitionInput is standard input if a file is "-". Otherwise nobody reads it: it may be a terminal that is asked
// something later.
func (a *app) definitionInput(ctx context.Context, names []string) io.Reader {
	if slices.Contains(names, "-") {
		return interruptible(ctx, a.stdin)
	}
	return strings.NewReader("")
}

// filesOfEnvironment are those of BUILDX_BAKE_FILE, separated as in PATH or by BUILDX_BAKE_PATH_SEPARATOR.
func filesOfEnvironment() (names []string) {
	separator := os.Getenv("BUILDX_BAKE_PATH_SEPARATOR")
	if separator == "" {
		separator = string(os.PathListSeparator)
	}
	for name := range strings.SplitSeq(os.Getenv("BUILDX_BAKE_FILE"), separator) {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	return names
}
