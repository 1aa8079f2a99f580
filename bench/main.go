// Command bench measures strata against the builders that are installed, on one machine in one go, and
// prints a Markdown table of medians.
//
// Every measurement is a whole process, from its start to its exit. The builders take turns within each
// round, so that a slow minute of the machine meets all of them, and the disk is synced before each.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
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
	beside := flag.String("beside", "", "the other builders to compare with, of dockerd, buildah and buildkitd, with commas between them; without it all that are installed, or none with -against")
	compare := flag.String("compare", "", "another `commit`, whose strata is built and takes turns with this one; says which rows got slower, and fails "+
		"where one did by more than 10 %")
	tools := flag.Bool("tools", false, "measure what compilers and package managers take in a copied tree, and nothing else")
	rungs := flag.Bool("rungs", false, "measure strata on each rung of docs/rootless.md, beside buildah as an ordinary user")
	graph := flag.String("graph", "", "draw into this `file`, an SVG, what builds take against the number of files, steps, layers and builds at a time")
	files := flag.Int("files", 1_000_000, "how many files the graph goes to, 1,000,000 at most")
	steps := flag.Int("steps", 1000, "how many steps the graph goes to, 1,000 at most")
	fleet := flag.Bool("fleet", false, "measure steps on workers and many clients of one cache, and nothing else")
	if len(os.Args) > 2 && os.Args[1] == unsyncedArg {
		fmt.Fprintln(os.Stderr, "bench:", becomeUnsynced(os.Args[2:]))
		os.Exit(1)
	}
	if len(os.Args) == 5 && os.Args[1] == pageArg {
		exit(lookAtPage(os.Args[2:]))
	}
	if len(os.Args) == 4 && os.Args[1] == nameSpacesArg {
		exit(loopNameSpaces(os.Args[2:]))
	}
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	exit(bench(ctx, options{*runs, *only, *against, *beside, *compare, *graph, *files, *steps, *tools, *rungs, *fleet}))
}

// exit ends the program, with what went wrong.
func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// options say what is measured.
type options struct {
	runs    int
	only    string
	against string
	beside  string
	compare string // a commit; against is then its binary
	graph   string
	files   int
	steps   int
	tools   bool
	rungs   bool
	fleet   bool
}

// check refuses what cannot be measured.
func (o options) check() error {
	switch {
	case o.runs < 1:
		return fmt.Errorf("%d rounds measure nothing", o.runs)
	case o.compare != "" && o.beside != "":
		return errors.New("-compare is between two commits: -beside names others")
	case o.compare != "" && o.against != "":
		return errors.New("-compare builds what -against names: give one of them")
	case o.graph != "" && (o.files < 1000 || o.files > 1_000_000 || o.steps < 1 || o.steps > 1000):
		return errors.New("the graph goes to 1,000 to 1,000,000 files, and to 1 to 1,000 steps")
	case o.compare != "" && (o.tools || o.rungs || o.fleet || o.graph != ""):
		return errors.New("-compare is for the rows of the ordinary bench")
	case o.compare != "" && o.runs < minRounds:
		return fmt.Errorf("%d rounds cannot tell a slower row from noise: at least %d are needed (RUNS=)", o.runs, minRounds)
	}
	return nil
}

// A contender is a builder and what it is measured at. The first, which is strata, has all rows of the table, and the
// others have those that they are measured at under the same names.
type contender struct {
	builder
	scenarios []*scenario
}

// find is the contender's own scenario for a row, or nil.
func (c contender) find(row *scenario) *scenario {
	at := slices.IndexFunc(c.scenarios, func(s *scenario) bool { return s.name == row.name })
	if at < 0 {
		return nil
	}
	return c.scenarios[at]
}

// bench sets up a directory of its own, beside the inputs, measures, and takes it away again.
func bench(ctx context.Context, o options) error {
	if err := o.check(); err != nil {
		return err
	}
	cache, err := cacheDir()
	if err != nil {
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
	if o.compare != "" {
		if o.against, err = buildCommit(ctx, o.compare, work); err != nil {
			return err
		}
	}
	if o.graph != "" {
		return benchGraph(ctx, binary, work, o)
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
		err := results.measureRound(ctx, contenders, run, o)
		if ctx.Err() != nil && run > 0 {
			progress("interrupted: the table is of what was measured until now")
			ctx = context.WithoutCancel(ctx)
			break
		}
		if err != nil {
			return err
		}
	}
	if err := results.measureStart(ctx, contenders, o); err != nil {
		return err
	}
	if o.compare != "" {
		return reportChanges(os.Stdout, contenders, results)
	}
	fmt.Print(report(ctx, contenders, results))
	return nil
}

// turns are the contenders in the order of a round. Every other round it is the other way round, since who comes
// second may find the disk or the processor warm.
func turns(contenders []contender, round int) []contender {
	order := slices.Clone(contenders)
	if round%2 == 1 {
		slices.Reverse(order)
	}
	return order
}

// onceIfLonger is what one of those that strata is compared with may take at a row for being asked in each round:
// the large contexts and the 40 stages take Docker's classic builder and buildah four minutes a round.
const onceIfLonger = 15 * time.Second

// slow reports whether a builder that is not a strata took too long at a row for being asked again.
func (r results) slow(s *scenario, c contender) bool {
	took := r[key(s, c.builder)]
	return len(took) > 0 && !isStrata(c) && took[0].elapsed > onceIfLonger
}

// measureRound measures each scenario once with each contender. Where one of those that strata is compared with
// fails, it loses the scenario; where it is slow, it keeps its first round; where strata fails, the round does.
func (r results) measureRound(ctx context.Context, contenders []contender, run int, o options) error {
	for _, s := range contenders[0].scenarios {
		for _, c := range turns(contenders, run) {
			theirs := c.find(s)
			if theirs == nil || r.failed(s, c) || r.slow(s, c) {
				continue
			}
			progress("round %d of %d: %s: %s", run+1, o.runs, s.name, c.name())
			measured, err := theirs.measure(ctx, c.builder)
			if err != nil && ctx.Err() == nil && c.builder != contenders[0].builder {
				progress("%s fails there, and is not asked again: %v", c.name(), err)
				r.fail(s, c)
				continue
			}
			if err != nil {
				return fmt.Errorf("%s: %s: %w", s.name, c.name(), err)
			}
			r.add(s, c, measured)
		}
		if s.limit != nil && o.compare == "" {
			progress("round %d of %d: %s: %s", run+1, o.runs, s.name, s.limit.name)
			if err := r.addLimit(ctx, s); err != nil {
				return err
			}
		}
	}
	return nil
}

// cacheDir is where large inputs stay for the next run.
func cacheDir() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	cache = filepath.Join(cache, "strata-bench")
	return cache, os.MkdirAll(cache, 0o755)
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
		builds, err = makeScenarios(ctx, binary, cache, work)
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
	if err := forgetOwnPeak(); err != nil {
		return measurement{}, err
	}
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

// forgetOwnPeak gives back what memory this process can and starts its peak anew. A process begins as a copy of who
// starts it, and the kernel keeps that one's peak for it (exec_mmap in fs/exec.c): a row's memory would not be less
// than the most that the bench had in any row before.
func forgetOwnPeak() error {
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil { // proc_pid_clear_refs(5)
		return fmt.Errorf("forgetting the bench's own peak of memory: %w", err)
	}
	return nil
}

// measureDaemon runs a command that has a daemon work. The memory is the daemon's.
func measureDaemon(d daemon, cmd *exec.Cmd) (measurement, error) {
	if err := d.forgetPeak(); err != nil {
		return measurement{}, err
	}
	m, err := measure(cmd)
	if err != nil {
		return m, err
	}
	m.memory, err = d.peak()
	return m, err
}

// measureStart measures `strata --version` many times, since one is shorter than the noise, and adds that row.
func (r results) measureStart(ctx context.Context, contenders []contender, o options) error {
	const times = 50
	start := &scenario{name: "`strata --version`", reach: 10 * time.Millisecond, limit: processStart("/bin/true")}
	stratas := contenders[:1]
	if o.against != "" {
		stratas = contenders[:2]
	}
	for i := range times {
		for _, c := range turns(stratas, i) {
			begun := time.Now()
			if err := c.builder.(*strata).command(ctx, "--version").Run(); err != nil {
				return fmt.Errorf("strata --version: %w", err)
			}
			r.add(start, c, measurement{elapsed: time.Since(begun)})
		}
	}
	if err := r.addLimit(ctx, start); err != nil {
		return err
	}
	contenders[0].scenarios = append(contenders[0].scenarios, start)
	return nil
}
