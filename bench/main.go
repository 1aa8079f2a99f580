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
	against := flag.String("against", "", "another strata `binary`, which takes turns with this one in the place of the other builders; "+
		unsyncedArg+" is this one without durability, "+unobserved+" without observing what steps read")
	tools := flag.Bool("tools", false, "measure what compilers and package managers take in a copied tree, and nothing else")
	rungs := flag.Bool("rungs", false, "measure strata on each rung of docs/rootless.md, beside buildah as an ordinary user")
	fleet := flag.Bool("fleet", false, "measure steps on workers and many clients of one cache, and nothing else")
	if len(os.Args) > 2 && os.Args[1] == unsyncedArg {
		fmt.Fprintln(os.Stderr, "bench:", becomeUnsynced(os.Args[2:]))
		os.Exit(1)
	}
	if len(os.Args) == 5 && os.Args[1] == pageArg {
		if err := lookAtPage(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := bench(ctx, options{*runs, *only, *against, *tools, *rungs, *fleet}); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options say what is measured.
type options struct {
	runs    int
	only    string
	against string
	tools   bool
	rungs   bool
	fleet   bool
}

// A contender is a builder and what it is measured at. All have the scenarios of the builds first, and strata has more.
type contender struct {
	builder
	scenarios []*scenario
}

// bench sets up a directory of its own, beside the inputs, measures, and takes it away again.
func bench(ctx context.Context, o options) error {
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	cache = filepath.Join(cache, "strata-bench")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return err
	}
	where := cache
	if o.rungs {
		where = "" // where other users get to
	}
	work, err := os.MkdirTemp(where, "run-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)

	binary, err := binary()
	if err != nil {
		return err
	}
	if o.fleet {
		return benchFleet(ctx, binary, work, o)
	}
	contenders, err := setUpAll(ctx, binary, o, cache, work)
	defer func() {
		for _, c := range contenders {
			c.close()
		}
	}()
	if err != nil {
		return err
	}
	if len(contenders[0].scenarios) == 0 {
		return fmt.Errorf("no scenario has %q in its name; docs/benchmarks.md lists them", o.only)
	}
	results := results{}
	for run := range o.runs {
		for i, s := range contenders[0].scenarios {
			for _, c := range contenders {
				if i >= len(c.scenarios) {
					continue
				}
				progress("round %d of %d: %s: %s", run+1, o.runs, s.name, c.name())
				measured, err := c.scenarios[i].measure(ctx, c)
				if err != nil {
					return fmt.Errorf("%s: %s: %w", s.name, c.name(), err)
				}
				results.add(s, c, measured)
			}
		}
	}
	start, err := startUp(ctx, binary)
	if err != nil {
		return err
	}
	fmt.Print(report(ctx, contenders, results, start))
	return nil
}

// setUpAll makes the inputs and the contenders. What it returns is to be closed even when it fails.
func setUpAll(ctx context.Context, binary string, o options, cache, work string) ([]contender, error) {
	progress("making the inputs")
	var builds []*scenario
	setUp := setUp
	var err error
	if o.rungs {
		err = makeRungContexts(work)
		setUp = func(ctx context.Context, binary string, _ options, work string) ([]contender, error) {
			return setUpRungs(ctx, binary, work)
		}
	} else {
		builds, err = makeScenarios(cache, work)
	}
	if err != nil {
		return nil, err
	}
	contenders, err := setUp(ctx, binary, o, work)
	for i := range contenders {
		c := &contenders[i]
		if !o.tools {
			c.scenarios = choose(slices.Concat(builds, c.scenarios), o.only)
		}
	}
	return contenders, err
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
