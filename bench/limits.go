package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/test/testbed"
)

// A limit is what this machine needs for the part of a row's work that no builder can leave out. It is measured in
// the same rounds as the rows, so that a row's distance to it says how much there is to gain.
type limit struct {
	name    string
	measure func(context.Context) (time.Duration, error)
}

// limitKey is where results has a scenario's limit.
func limitKey(s *scenario) string { return s.name + "\x00limit" }

// timed is how long a function takes, on a quiet disk.
func timed(work func() error) (time.Duration, error) {
	syscall.Sync()
	start := time.Now()
	err := work()
	return time.Since(start), err
}

// processStart is that of a program that does nothing, the mean of 20.
func processStart(name string, args ...string) *limit {
	const times = 20
	return &limit{strings.Join(append([]string{filepath.Base(name)}, args...), " "), func(ctx context.Context) (time.Duration, error) {
		elapsed, err := timed(func() error {
			for range times {
				if err := run(exec.CommandContext(ctx, name, args...)); err != nil {
					return err
				}
			}
			return nil
		})
		return elapsed / times, err
	}}
}

// inTurn is one limit after the other.
func inTurn(first, second *limit) *limit {
	return &limit{first.name + ", and " + second.name, func(ctx context.Context) (time.Duration, error) {
		one, err := first.measure(ctx)
		if err != nil {
			return 0, err
		}
		other, err := second.measure(ctx)
		return one + other, err
	}}
}

// statFiles asks for the metadata of all files below a directory, one after the other: what tells that none has
// changed.
func statFiles(dir string) *limit {
	return &limit{"lstat of each file", func(context.Context) (time.Duration, error) {
		return timed(func() error {
			return filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
				if err != nil {
					return err
				}
				_, err = entry.Info()
				return err
			})
		})
	}}
}

// shell is a script, for what the usual tools are the yardstick of.
func shell(name, script string, args ...string) *limit {
	return &limit{name, func(ctx context.Context) (time.Duration, error) {
		return timed(func() error {
			return run(exec.CommandContext(ctx, "sh", append([]string{"-euc", script, "sh"}, args...)...))
		})
	}}
}

// tarSum reads a directory as one tar, and hashes it: the digest of a layer that has all of it.
func tarSum(dir string) *limit {
	return shell("tar to sha256sum", `tar -cf - -C "$1" . | sha256sum`, dir)
}

// hashing hashes so many bytes of memory: the digest of a layer whose bytes are all known but some.
func hashing(bytes int64) *limit {
	return &limit{fmt.Sprintf("SHA-256 of %d MB", bytes/1e6), func(context.Context) (time.Duration, error) {
		return timed(func() error {
			block, sum := make([]byte, 1<<20), sha256.New()
			for done := int64(0); done < bytes; done += int64(len(block)) {
				sum.Write(block)
			}
			sum.Sum(nil)
			return nil
		})
	}}
}

// writeScript is the command of writtenDockerfile, by the same busybox, into a file of a folder, and waits for the
// disk.
const writeScript = `"$3/bin/busybox" head -c "$2" /dev/urandom >"$1/0"; sync "$1/0"`

// writing is what a RUN runs that makes so many bytes, of which the disk then has a layer. busybox is its file system.
func writing(bytes int64, dir, busybox string) *limit {
	return inFolder(dir, shell("the RUN's own `head`, and fsync", writeScript, dir, strconv.FormatInt(bytes, 10), busybox))
}

// writingAndCopying is the same with the layer's digest, and a copy on the disk as a registry has one.
func writingAndCopying(bytes int64, dir, busybox string) *limit {
	l := shell("the RUN's own `head`, fsync, sha256sum, dd of a copy",
		writeScript+`; sha256sum "$1/0"; dd if="$1/0" of="$1/copy" bs=1M conv=fsync`, dir, strconv.FormatInt(bytes, 10), busybox)
	return inFolder(dir, l)
}

// inFolder measures a limit that writes into a folder, and takes that away.
func inFolder(dir string, l *limit) *limit {
	return &limit{l.name, func(ctx context.Context) (time.Duration, error) {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return 0, err
		}
		defer os.RemoveAll(dir)
		return l.measure(ctx)
	}}
}

// nameSpacesArg is the first argument of this program where it starts containers with bare means: see loopNameSpaces.
const nameSpacesArg = "namespaces"

// nameSpaces starts a program so many times on the file system in lower, each time in name spaces of its own on an
// overlay of its own: a RUN with nothing around it. The processes of Go's that mount are not in the time.
func nameSpaces(times int, lower string) *limit {
	return &limit{fmt.Sprintf("%d × name spaces, overlay and `true`", times), func(ctx context.Context) (time.Duration, error) {
		self, err := os.Executable()
		if err != nil {
			return 0, err
		}
		syscall.Sync()
		cmd := exec.CommandContext(ctx, self, nameSpacesArg, strconv.Itoa(times), lower)
		cmd.Stderr = os.Stderr
		// What it mounts goes with it, however it ends.
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
		out, err := cmd.Output()
		if err != nil {
			return 0, fmt.Errorf("%s: %w", cmd, err)
		}
		return time.ParseDuration(strings.TrimSpace(string(out)))
	}}
}

// loopNameSpaces is nameSpaces in the process that mounts. It prints the time.
func loopNameSpaces(args []string) error {
	times, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp(filepath.Dir(args[1]), "overlays-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	start := time.Now()
	for i := range times {
		if err := startBare(filepath.Join(work, strconv.Itoa(i)), args[1]); err != nil {
			return err
		}
	}
	fmt.Println(time.Since(start))
	return nil
}

// startBare runs `true` of lower in name spaces of its own, those of a step that has the host's network.
func startBare(work, lower string) (err error) {
	upper, index, merged := filepath.Join(work, "upper"), filepath.Join(work, "work"), filepath.Join(work, "merged")
	for _, dir := range []string{work, upper, index, merged} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", lower, upper, index)
	if err := unix.Mount("overlay", merged, "overlay", 0, options); err != nil {
		return fmt.Errorf("mounting an overlay: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Unmount(merged, unix.MNT_DETACH)) }()
	cmd := exec.Command("/bin/true")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Chroot:     merged,
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWCGROUP,
	}
	return run(cmd)
}

// unpackBusybox makes the file system for nameSpaces.
func unpackBusybox(ctx context.Context, dir string) error {
	archive, err := testbed.Busybox(ctx)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return run(exec.CommandContext(ctx, "tar", "-xf", archive, "-C", dir))
}

// manifest is an image's in a registry, at the URL of its repository.
type manifest struct {
	ocispec.Manifest
	repository string
}

// getManifest asks the registry at an address for the manifest of a name with a tag.
func getManifest(ctx context.Context, registry, name string) (*manifest, error) {
	repository, tag, _ := strings.Cut(name, ":")
	m := &manifest{repository: "http://" + registry + "/v2/" + repository}
	err := get(ctx, m.repository+"/manifests/"+tag, func(body io.Reader) error { return json.NewDecoder(body).Decode(&m.Manifest) })
	if err == nil && len(m.Layers) == 0 {
		err = fmt.Errorf("%s has no layers", name)
	}
	return m, err
}

// get reads a blob and throws it away.
func (m *manifest) get(ctx context.Context, blob ocispec.Descriptor) error {
	return get(ctx, m.repository+"/blobs/"+blob.Digest.String(), discard)
}

// getImage asks a registry for an image's manifest and then for all of its blobs at once.
func getImage(registry, name string) *limit {
	return &limit{"GET of the image's blobs", func(ctx context.Context) (time.Duration, error) {
		return timed(func() error {
			m, err := getManifest(ctx, registry, name)
			if err != nil {
				return err
			}
			group, ctx := errgroup.WithContext(ctx)
			for _, blob := range append(m.Layers, m.Config) {
				group.Go(func() error { return m.get(ctx, blob) })
			}
			return group.Wait()
		})
	}}
}

func discard(body io.Reader) error {
	_, err := io.Copy(io.Discard, body)
	return err
}

// get hands on what a server answers.
func get(ctx context.Context, address string, read func(io.Reader) error) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Accept", ocispec.MediaTypeImageManifest+", application/vnd.docker.distribution.manifest.v2+json, */*")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", address, answer.Status)
	}
	return read(answer.Body)
}
