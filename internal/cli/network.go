package cli

import (
	"cmp"
	"fmt"
	"os"

	"github.com/spf13/pflag"

	"github.com/strata-build/strata/internal/sandbox/network"
	"github.com/strata-build/strata/internal/sandbox/runner"
)

// networkVariable says what --network=default is.
const networkVariable = "STRATA_NETWORK"

// networkNames are the values of --network.
func networkNames() []string { return []string{"default", "bridge", "host", "none"} }

// parseNetwork parses a --network. Its default is what the environment or the configuration says, and otherwise
// runner.DefaultNetwork.
func parseNetwork(flag string) (runner.Network, error) {
	if flag != "" && flag != "default" {
		n, err := runner.ParseNetwork(flag)
		if err != nil {
			return "", usageError("--network %w", err)
		}
		return n, nil
	}
	if text := os.Getenv(networkVariable); text != "" {
		n, err := runner.ParseNetwork(text)
		if err != nil {
			return "", usageError("%s=%w", networkVariable, err)
		}
		return n, nil
	}
	c, err := loadConfig()
	if err != nil {
		return "", err
	}
	n, err := runner.ParseNetwork(cmp.Or(c.Network, string(runner.DefaultNetwork)))
	if err != nil {
		return "", fmt.Errorf("reading the configuration: network = %w", err)
	}
	return n, nil
}

// networkAllowFlag is --network-allow, for who reaches the hosts.
func networkAllowFlag(fl *pflag.FlagSet, hosts *[]string, who string) {
	fl.Var((*listFlag)(hosts), "network-allow", "let "+who+" reach this `HOST` and no others that are not named so: NAME, *.NAME or an address, and :PORT")
}

// parseAllow parses --network-allow; without one it is nil.
func parseAllow(hosts []string) (*network.Allow, error) {
	if len(hosts) == 0 {
		return nil, nil
	}
	allow, err := network.ParseAllow(hosts)
	if err != nil {
		return nil, usageError("--network-allow %w", err)
	}
	return allow, nil
}
