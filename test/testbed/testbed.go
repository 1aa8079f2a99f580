// Package testbed is what the transcripts, the comparison with Docker and the benchmarks stand on: the
// strata binary, base images made without a registry, a Docker daemon and a registry of their own.
//
// Everything listens on 127.0.0.1 or on a socket in the directory that the caller gives, and stops with it.
package testbed

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
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

// Build compiles strata, puts it into dir and returns its path. The binary is a real one, not the test
// binary under another name, since it starts itself again as a container's first process. With
// STRATA_BINARY set, it is that one: a static build, for instance. flags are more flags of go build.
//
// It is linked in the cache of the tests, where go finds it as long as nothing has changed: linking takes ten seconds
// of processor time, and eight packages need it.
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
	args := append([]string{"build", "-tags", tags, "-ldflags", "-s -w"}, flags...)
	folder, unlock, err := linkFolder(args)
	if err != nil {
		return "", err
	}
	defer unlock()
	linked, binary := filepath.Join(folder, "strata"), filepath.Join(dir, "strata")
	cmd := exec.CommandContext(ctx, "go", append(args, "-o", linked, "./cmd/strata")...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building strata: %w\n%s", err, out)
	}
	if out, err := exec.CommandContext(ctx, "cp", linked, binary).CombinedOutput(); err != nil {
		return "", fmt.Errorf("copying strata: %w\n%s", err, out)
	}
	return binary, nil
}

// linkFolder returns the folder for what go links with these arguments, for one package of tests at a time, of
// whichever clone.
func linkFolder(args []string) (folder string, unlock func(), err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", nil, err
	}
	key := sha256.Sum256(fmt.Appendf(nil, "%q", args))
	folder = filepath.Join(cache, "strata-test", fmt.Sprintf("link-%x", key[:6]))
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", nil, err
	}
	lock, err := os.Create(filepath.Join(folder, "lock"))
	if err != nil {
		return "", nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		lock.Close()
		return "", nil, fmt.Errorf("locking %s: %w", lock.Name(), err)
	}
	return folder, func() { lock.Close() }, nil
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
// where that was not done yet (about 30 s). It has more of Debian's packages where they are named.
func Debian(ctx context.Context, packages ...string) (string, error) {
	return base(ctx, "debian", packages...)
}

// Busybox returns the path of the tar of a root file system with a static busybox.
func Busybox(ctx context.Context) (string, error) { return base(ctx, "busybox") }

func base(ctx context.Context, script string, args ...string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(root, "test", "base", script), args...)
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
