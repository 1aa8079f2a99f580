package testbed

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
)

// Registry is the reference registry, docker-registry, on a free port of 127.0.0.1.
type Registry struct {
	Address string // host:port
	cmd     *exec.Cmd
}

// StartRegistry starts a registry with its data in dir.
func StartRegistry(ctx context.Context, dir string) (*Registry, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "config.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %q}, delete: {enabled: true}}\nhttp: {addr: %q}\n",
		filepath.Join(dir, "data"), address)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return nil, err
	}
	r := &Registry{Address: address, cmd: exec.Command("docker-registry", "serve", config)}
	if err := r.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the registry: %w (on Debian: apt-get install docker-registry)", err)
	}
	if err := listening(ctx, address); err != nil {
		r.Stop()
		return nil, err
	}
	return r, nil
}

// Stop ends the registry and waits for it.
func (r *Registry) Stop() { stop(r.cmd) }

// freeAddress is one that nobody listened on a moment ago.
func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}
