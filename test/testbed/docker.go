package testbed

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Docker is Debian's dockerd with everything it keeps in one directory, without networks of its own: RUN
// and run need the host's.
type Docker struct {
	Host string // for DOCKER_HOST
	cmd  *exec.Cmd
	log  string
}

// startTime is how long a daemon may take to listen.
const startTime = 2 * time.Minute

// StartDocker starts a daemon with its data in dir, which must not lie on overlayfs.
func StartDocker(ctx context.Context, dir string) (*Docker, error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("dockerd runs as root only")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	d := &Docker{Host: "unix://" + filepath.Join(dir, "sock"), log: filepath.Join(dir, "log")}
	log, err := os.Create(d.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	d.cmd = exec.Command("dockerd",
		"--host", d.Host,
		"--data-root", filepath.Join(dir, "data"),
		"--exec-root", filepath.Join(dir, "exec"),
		"--pidfile", filepath.Join(dir, "pid"),
		"--storage-driver", "overlay2",
		"--bridge", "none", "--iptables=false", "--ip-forward=false", "--ip-masq=false")
	d.cmd.Stdout, d.cmd.Stderr = log, log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the tests, which then stop it
	if err := d.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting dockerd: %w (on Debian: apt-get install docker.io)", err)
	}
	if err := d.wait(ctx); err != nil {
		d.Stop()
		return nil, err
	}
	return d, nil
}

func (d *Docker) wait(ctx context.Context) error {
	return waitFor(ctx, "dockerd", d.log, func(ctx context.Context) error {
		_, err := d.Run(ctx, "version")
		return err
	})
}

// waitFor waits until a daemon answers ask, at most for startTime. The error has what is in its log.
func waitFor(ctx context.Context, name, log string, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for ask(ctx) != nil {
		select {
		case <-ctx.Done():
			text, _ := os.ReadFile(log)
			return fmt.Errorf("%s does not answer; its log:\n%s", name, text)
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

// Command is a docker command that talks to this daemon. BuildKit is on; the caller may add
// DOCKER_BUILDKIT=0 to its environment.
func (d *Docker) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/usr/bin/docker", args...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+d.Host, "DOCKER_BUILDKIT=1")
	return cmd
}

// busy is what the daemon's BuildKit says when a step that two builds share had no processor for a second or so.
const busy = "flightcontrol: exceeded retry timeout"

// Run runs a docker command and returns what it prints, without the last line's end. A command that a busy machine made
// fail is run again.
func (d *Docker) Run(ctx context.Context, args ...string) (string, error) {
	out, err := d.Command(ctx, args...).CombinedOutput()
	for tries := 1; err != nil && tries < 5 && strings.Contains(string(out), busy); tries++ {
		out, err = d.Command(ctx, args...).CombinedOutput()
	}
	if err != nil {
		return "", fmt.Errorf("docker %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSuffix(string(out), "\n"), nil
}

// Stop ends the daemon and waits for it. Its files stay for the caller to remove, and the one mount that
// the daemon forgets does not.
func (d *Docker) Stop() {
	stop(d.cmd)
	namespace := filepath.Join(filepath.Dir(d.log), "exec", "netns", "default")
	_ = syscall.Unmount(namespace, syscall.MNT_DETACH) // it is there only after a run on the host's network
}

// stop asks a process to end, makes it after a while, and waits for it.
func stop(cmd *exec.Cmd) {
	cmd.Process.Signal(syscall.SIGTERM)
	timer := time.AfterFunc(startTime, func() { cmd.Process.Kill() })
	defer timer.Stop()
	cmd.Wait()
}

// listening waits until something answers at a TCP address.
func listening(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("nothing listens on %s: %w", address, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// ImportBases makes the base images known to the daemon, from the same tars that strata imports.
func (d *Docker) ImportBases(ctx context.Context) error {
	for _, base := range []struct {
		image, command string
		tar            func(context.Context) (string, error)
	}{
		{BusyboxImage, `CMD ["sh"]`, Busybox},
		{DebianImage, `CMD ["bash"]`, func(ctx context.Context) (string, error) { return Debian(ctx) }},
	} {
		if _, err := d.Run(ctx, "inspect", base.image); err == nil {
			continue
		}
		tar, err := base.tar(ctx)
		if err != nil {
			return err
		}
		if _, err := d.Run(ctx, "import", "--change", base.command, tar, base.image); err != nil {
			return err
		}
	}
	return nil
}
