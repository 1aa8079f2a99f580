package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/strata-build/strata/test/testbed"
)

// buildCommit builds the strata of a commit as `make build` there does, and returns its path in the folder work. The
// commit is checked out into a work tree of its own, which is taken away at once.
func buildCommit(ctx context.Context, rev, work string) (binary string, err error) {
	root, err := testbed.Root()
	if err != nil {
		return "", err
	}
	git := func(ctx context.Context, args ...string) error {
		return run(exec.CommandContext(ctx, "git", append([]string{"-C", root}, args...)...))
	}
	if err := git(ctx, "rev-parse", "--quiet", "--verify", "--end-of-options", rev+"^{commit}"); err != nil {
		return "", fmt.Errorf("%q is no commit of this repository; BASE names one, as in git show", rev)
	}
	progress("building the strata of %s", rev)
	tree, binary := filepath.Join(work, "compared"), filepath.Join(work, "strata-compared")
	defer func() {
		// Also where Ctrl-C ended the build.
		err = errors.Join(err, git(context.WithoutCancel(ctx), "worktree", "remove", "--force", tree))
	}()
	if err := git(ctx, "worktree", "add", "--quiet", "--detach", tree, rev); err != nil {
		return "", err
	}
	// What was said to the make that started this is not for that one: VERSION=, for instance.
	build := exec.CommandContext(ctx, "make", "-C", tree, "build")
	build.Env = append(os.Environ(), "MAKEFLAGS=", "MAKEOVERRIDES=")
	if err := run(build); err != nil {
		return "", err
	}
	return binary, os.Rename(filepath.Join(tree, "bin", "strata"), binary)
}

// reportChanges writes each row of this strata, the first contender, beside that of the other, and whether it got
// slower or faster beyond the noise. It fails where a row got slower by more than 10 %.
func reportChanges(w io.Writer, contenders []contender, r results) error {
	now, before := contenders[0], contenders[1]
	fmt.Fprintf(w, "×: the median of the rounds' ratios of now to %s, and the range of them\n\n", before.name())
	fmt.Fprintf(w, "| work | %s | now | × | | peak memory |\n|---|---|---|---|---|---|\n", before.name())
	var worse []string
	for _, s := range now.scenarios {
		ours, theirs := r[key(s, now)], r[key(s, before)]
		pairs := ratios(ours, theirs)
		if len(pairs) == 0 {
			fmt.Fprintf(w, "| %s | fails | %s | | | |\n", s.name, seconds(medianTime(ours)))
			continue
		}
		verdict := judge(ours, theirs)
		if verdict == muchSlower {
			worse = append(worse, s.name)
		}
		memory := ""
		if was := peak(theirs); was > 0 {
			memory = fmt.Sprintf("×%.2f", float64(peak(ours))/float64(was))
		}
		fmt.Fprintf(w, "| %s | %s | %s | %.2f (%.2f to %.2f) | %s | %s |\n", s.name, seconds(medianTime(theirs)), seconds(medianTime(ours)),
			median(pairs), slices.Min(pairs), slices.Max(pairs), verdict, memory)
	}
	if len(worse) > 0 {
		return fmt.Errorf("%s than %s: %s", muchSlower, before.name(), strings.Join(worse, "; "))
	}
	return nil
}
