package runner

import (
	"fmt"

	"github.com/opencontainers/runc/libcontainer/configs"

	"github.com/strata-build/strata/internal/human/suggest"
)

// Network says which network a container sees.
type Network string

// The networks; the empty string means NetworkHost.
const (
	NetworkHost Network = "host" // the one of the machine
	NetworkNone Network = "none" // nothing but a loopback interface
)

// ParseNetwork reads the value of a --network, of strata or of a RUN: "" and "default" are NetworkHost.
func ParseNetwork(text string) (Network, error) {
	switch text {
	case "", "default", string(NetworkHost):
		return NetworkHost, nil
	case string(NetworkNone):
		return NetworkNone, nil
	}
	return "", fmt.Errorf("%s: it is one of default, host and none%s", text, suggest.DidYouMean(text, []string{"default", "host", "none"}))
}

// configure gives the container the network's name space and interfaces.
func (n Network) configure(c *configs.Config) {
	if n != NetworkNone {
		return
	}
	c.Namespaces = append(c.Namespaces, configs.Namespace{Type: configs.NEWNET})
	c.Networks = []*configs.Network{{Type: "loopback"}}
}
