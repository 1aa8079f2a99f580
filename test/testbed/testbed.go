// Package testbed is what the transcripts, the comparison with Docker and the benchmarks stand on: the
// strata binary, base images made without a registry, a Docker daemon and a registry of their own.
//
// Everything listens on 127.0.0.1 or on a socket in the directory that the caller gives, and stops with it.
package testbed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// Names of the base images, as the examples and transcripts write them.
const (
	DebianImage  = "debian:bookworm-slim"
	PythonImage  = "python:3.11-slim-bookworm"
	BusyboxImage = "busybox:latest"
)

// Root is the directory of the module that the working directory is in.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("no go.mod above the working directory: run this inside the repository")
}

// Build compiles strata into dir and returns the binary's path. The binary is a real one, not the test
// binary under another name, since it starts itself again as a container's first process. With
// STRATA_BINARY set, it is that one: a static build, for instance. flags are more flags of go build.
func Build(ctx context.Context, dir string, flags ...string) (string, error) {
	if binary := os.Getenv("STRATA_BINARY"); binary != "" {
		return filepath.Abs(binary)
	}
	root, err := Root()
	if err != nil {
		return "", err
	}
	tags, err := tags(root)
	if err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "strata")
	args := append([]string{"build", "-tags", tags, "-o", binary}, flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, "./cmd/strata")...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building strata: %w\n%s", err, out)
	}
	return binary, nil
}

// tags are the build tags of the Makefile in the module's directory root.
func tags(root string) (string, error) {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		return "", err
	}
	match := regexp.MustCompile(`(?m)^TAGS\s*=\s*(\S+)$`).FindSubmatch(makefile)
	if match == nil {
		return "", errors.New("no line TAGS = in the Makefile")
	}
	return string(match[1]), nil
}

// Debian returns the path of the tar of a Debian bookworm root file system with Python, making it first
// where that was not done yet (about 30 s).
func Debian(ctx context.Context) (string, error) { return base(ctx, "debian") }

// Busybox returns the path of the tar of a root file system with a static busybox.
func Busybox(ctx context.Context) (string, error) { return base(ctx, "busybox") }

func base(ctx context.Context, script string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(root, "test", "base", script))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("making the %s base: %w", script, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// Path is a search path that finds binary first and then Debian's own programs, so that a second docker
// in /usr/local, which may lack BuildKit, is not taken.
func Path(binary string) string {
	return filepath.Dir(binary) + ":/usr/bin:/bin:/usr/sbin:/sbin:/usr/local/bin"
}
