package runner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/strata-build/strata/internal/sandbox/network"
)

// generateFiles writes the files that a container gets in place of the image's, and returns how to mount them.
func generateFiles(s Spec) ([]Bind, error) {
	resolv, err := os.ReadFile("/etc/resolv.conf")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the host's resolv.conf: %w", err)
	}
	dns := s.DNS
	if s.Network == NetworkBridge && len(dns.Servers) == 0 {
		dns.Servers = []string{network.Resolver()}
	}
	contents := []struct{ name, text string }{
		{"resolv.conf", dns.change(string(resolv))},
		{"hosts", hostsFile(s.Hostname, s.Hosts, s.Network)},
		{"hostname", s.Hostname + "\n"},
	}
	var binds []Bind
	for _, c := range contents {
		path := filepath.Join(s.StateDir, c.name)
		if err := os.WriteFile(path, []byte(c.text), 0o644); err != nil {
			return nil, fmt.Errorf("write the container's %s: %w", c.name, err)
		}
		if err := os.Chmod(path, 0o644); err != nil { // whatever the umask: any user of the container may read it
			return nil, fmt.Errorf("write the container's %s: %w", c.name, err)
		}
		binds = append(binds, Bind{Source: path, Target: "/etc/" + c.name, ReadOnly: true})
	}
	return binds, nil
}
