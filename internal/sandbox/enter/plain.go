package enter

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/sandbox/plainroot"
	"github.com/strata-build/strata/internal/sandbox/runner"
	"github.com/strata-build/strata/internal/sandbox/workspace"
	"github.com/strata-build/strata/internal/store"
)

// runPlain runs the command in a root of plain files, where nothing can be mounted. volumes are the binds of spec that
// the store keeps.
func runPlain(ctx context.Context, s *store.Store, config *image.Config, spec runner.Spec, volumes []runner.Bind) (code int, err error) {
	if len(spec.Binds) > len(volumes) {
		return runner.ExitSandbox, errors.New("showing files of this machine takes a mount, which cannot be made here; use COPY or a volume, or see strata info")
	}
	if spec.Network == runner.NetworkNone {
		return runner.ExitSandbox, errors.New("running without a network takes a name space, which cannot be made here; leave --network=none out, or see strata info")
	}
	if spec.ReadOnly {
		return runner.ExitSandbox, errors.New("a read-only root takes a mount, which cannot be made here; leave --read-only out, or see strata info")
	}
	dir, err := s.Scratch("enter")
	if err != nil {
		return runner.ExitSandbox, err
	}
	defer os.RemoveAll(dir) // what stays is swept when the store is opened next
	spec.StateDir = filepath.Join(dir, "state")
	if err := workspace.Mkdir(spec.StateDir, 0o700); err != nil {
		return runner.ExitSandbox, fmt.Errorf("preparing a container: %w", err)
	}
	root, err := plainroot.New(ctx, s, config.RootFS.DiffIDs, dir)
	if err != nil {
		return runner.ExitSandbox, err
	}
	defer func() { err = errors.Join(err, root.Clear()) }()
	if err := root.Furnish(spec); err != nil {
		return runner.ExitSandbox, err
	}
	for _, v := range volumes {
		if err := root.Place(v.Target, plainroot.Lent(v.Source)); err != nil {
			return runner.ExitSandbox, fmt.Errorf("a volume for %s: %w", v.Target, err)
		}
	}
	spec.Rootfs, spec.Binds = root.Dir(), nil
	return runner.RunPlain(ctx, spec, nil)
}
