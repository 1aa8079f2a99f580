package testbed

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// BuildKit is a buildkitd with everything it keeps in one directory, without containerd. Its steps have the host's
// network, and the images of docker.io come from a registry that is given.
type BuildKit struct {
	address string
	cmd     *exec.Cmd
	log     string
}

// buildkitConfig has a directory, the socket, and twice the address of a registry that speaks HTTP and has what a
// Dockerfile names without a registry, below library/.
const buildkitConfig = `root = %[1]q
[grpc]
  address = [%[2]q]
[worker.oci]
  networkMode = "host"
  gc = false
[worker.containerd]
  enabled = false
[registry."docker.io"]
  mirrors = [%[3]q]
[registry.%[3]q]
  http = true
`

// StartBuildKit starts the buildkitd on PATH with its data in dir, which must not lie on overlayfs. What it mounts is
// in a mount name space of its own and goes with it.
func StartBuildKit(ctx context.Context, dir, registry string) (*BuildKit, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "buildkitd.toml")
	b := &BuildKit{address: "unix://" + filepath.Join(dir, "sock"), log: filepath.Join(dir, "log")}
	text := fmt.Sprintf(buildkitConfig, filepath.Join(dir, "data"), b.address, registry)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return nil, err
	}
	log, err := os.Create(b.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	b.cmd = exec.Command("buildkitd", "--config", config)
	b.cmd.Stdout, b.cmd.Stderr = log, log
	// Ctrl-C is for the caller, who then stops it.
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Unshareflags: syscall.CLONE_NEWNS}
	if err := b.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting buildkitd: %w (make bench-buildkit builds it)", err)
	}
	if err := b.wait(ctx); err != nil {
		b.Stop()
		return nil, err
	}
	return b, nil
}

func (b *BuildKit) wait(ctx context.Context) error {
	return waitFor(ctx, "buildkitd", b.log, func(ctx context.Context) error { return b.Command(ctx, "debug", "workers").Run() })
}

// Command is a buildctl command that talks to this daemon.
func (b *BuildKit) Command(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "buildctl", append([]string{"--addr", b.address}, args...)...)
}

// ForgetPeak has Peak start anew, from what the daemon holds now.
func (b *BuildKit) ForgetPeak() error {
	return os.WriteFile(b.proc("clear_refs"), []byte("5"), 0)
}

// Peak is the most memory in bytes that the daemon held at once since ForgetPeak, without that of its steps.
func (b *BuildKit) Peak() (int64, error) {
	status, err := os.ReadFile(b.proc("status"))
	if err != nil {
		return 0, err
	}
	_, peak, _ := strings.Cut(string(status), "\nVmHWM:")
	var kilobytes int64
	if _, err := fmt.Sscan(peak, &kilobytes); err != nil {
		return 0, fmt.Errorf("reading the memory of buildkitd: %w", err)
	}
	return kilobytes * 1024, nil
}

func (b *BuildKit) proc(name string) string {
	return filepath.Join("/proc", fmt.Sprint(b.cmd.Process.Pid), name)
}

// Stop ends the daemon and waits for it. Its files stay for the caller to remove.
func (b *BuildKit) Stop() { stop(b.cmd) }
