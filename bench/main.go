// Command bench measures strata against the builders that are installed, on one machine in one go, and
// prints a Markdown table of medians.
//
// Every measurement is a whole process, from its start to its exit. The builders take turns within each
// round, so that a slow minute of the machine meets all of them, and the disk is synced before each.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/strata-build/strata/test/testbed"
)

func main() {
	runs := flag.Int("runs", 5, "how often each scenario is measured")
	only := flag.String("only", "", "scenarios whose name has this in it")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := bench(ctx, *runs, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench sets up a directory of its own, beside the inputs, measures, and takes it away again.
func bench(ctx context.Context, runs int, only string) error {
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	cache = filepath.Join(cache, "strata-bench")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return err
	}
	work, err := os.MkdirTemp(cache, "run-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)

	progress("making the inputs")
	scenarios, err := makeScenarios(cache, work)
	if err != nil {
		return err
	}
	binary, err := binary()
	if err != nil {
		return err
	}
	progress("setting up the builders")
	builders, err := setUp(ctx, binary, work)
	defer func() {
		for _, b := range builders {
			b.close()
		}
	}()
	if err != nil {
		return err
	}

	progress("filling a registry")
	e, err := startElsewhere(ctx, builders[0].(*strata), work)
	if err != nil {
		return err
	}
	defer e.registry.Stop()
	progress("filling a store")
	f, err := fillStore(ctx, builders[0].(*strata), work)
	if err != nil {
		return err
	}
	progress("the filled store's database has %d MB", f.size()>>20)
	l, err := startLook(ctx, builders[0].(*strata), work)
	if err != nil {
		return err
	}
	scenarios = choose(slices.Concat(scenarios, e.scenarios(), []*scenario{f.scenario()}, l.scenarios()), only)
	results := results{}
	for run := range runs {
		for _, s := range scenarios {
			for i, b := range builders {
				if s.command != nil && i > 0 {
					continue
				}
				progress("round %d of %d: %s: %s", run+1, runs, s.name, b.name())
				measured, err := s.measure(ctx, b)
				if err != nil {
					return fmt.Errorf("%s: %s: %w", s.name, b.name(), err)
				}
				results.add(s, b, measured)
			}
		}
	}
	start, err := startUp(ctx, binary)
	if err != nil {
		return err
	}
	fmt.Print(report(ctx, scenarios, builders, results, start))
	return nil
}

// binary is what `make build` wrote.
func binary() (string, error) {
	if binary := os.Getenv("STRATA_BINARY"); binary != "" {
		return filepath.Abs(binary)
	}
	root, err := testbed.Root()
	if err != nil {
		return "", err
	}
	binary := filepath.Join(root, "bin", "strata")
	if _, err := os.Stat(binary); err != nil {
		return "", fmt.Errorf("%w (make build writes it)", err)
	}
	return binary, nil
}

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...)
}

// A measurement is one process's time and the most memory that it or a child of it held at once.
type measurement struct {
	elapsed time.Duration
	memory  int64 // bytes
}

// measure runs a command on a quiet disk.
func measure(cmd *exec.Cmd) (measurement, error) {
	syscall.Sync()
	start := time.Now()
	out, err := cmd.CombinedOutput()
	elapsed := time.Since(start)
	if err != nil {
		return measurement{}, fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return measurement{elapsed: elapsed, memory: usage.Maxrss * 1024}, nil
}

// startUp measures `strata --version` many times, since one is shorter than the noise.
func startUp(ctx context.Context, binary string) ([]measurement, error) {
	const times = 50
	var all []measurement
	for range times {
		start := time.Now()
		if err := exec.CommandContext(ctx, binary, "--version").Run(); err != nil {
			return nil, fmt.Errorf("strata --version: %w", err)
		}
		all = append(all, measurement{elapsed: time.Since(start)})
	}
	return all, nil
}
