package runner

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/opencontainers/runc/libcontainer/configs"

	"github.com/strata-build/strata/internal/human/suggest"
	"github.com/strata-build/strata/internal/sandbox/network"
)

// Network says which network a container sees.
type Network string

// The networks; for a Spec the empty string means NetworkHost.
const (
	NetworkBridge Network = "bridge" // its own, from which it reaches others: package network
	NetworkHost   Network = "host"   // the one of the machine
	NetworkNone   Network = "none"   // nothing but a loopback interface
)

// DefaultNetwork is the one where nothing is said.
const DefaultNetwork = NetworkBridge

// ParseNetwork reads the value of a --network, of strata or of a RUN: "" and "default" are DefaultNetwork.
func ParseNetwork(text string) (Network, error) {
	switch text {
	case "", "default":
		return DefaultNetwork, nil
	case string(NetworkBridge), string(NetworkHost), string(NetworkNone):
		return Network(text), nil
	}
	return "", fmt.Errorf("%s: it is one of default, bridge, host and none%s", text,
		suggest.DidYouMean(text, []string{"default", "bridge", "host", "none"}))
}

// configure gives the container the network's name space and interfaces.
func (n Network) configure(c *configs.Config, connection *Connection) {
	switch n {
	case NetworkBridge:
		c.Namespaces = append(c.Namespaces, configs.Namespace{Type: configs.NEWNET, Path: connection.own.Path()})
	case NetworkNone:
		c.Namespaces = append(c.Namespaces, configs.Namespace{Type: configs.NEWNET})
		c.Networks = []*configs.Network{{Type: "loopback"}}
	}
}

// Connection is a network that is being made for a container, beside what else has to be prepared.
type Connection struct {
	wanted  Network
	limited bool          // to what is allowed
	made    chan struct{} // closed when own and err are there
	own     *network.Network
	err     error
}

// Connect begins to make the network n for a container with this machine. allow is all that may be reached from it,
// when not nil. The caller closes what it returns once the container has ended.
func Connect(n Network, m Machine, allow *network.Allow) *Connection {
	if n == "" {
		n = NetworkHost
	}
	c := &Connection{wanted: n, limited: allow != nil, made: make(chan struct{})}
	if n != NetworkBridge {
		if n == NetworkHost && c.limited {
			c.err = errors.New("on the machine's network it cannot be limited what a step reaches: leave --network=host or --network-allow out")
		}
		close(c.made)
		return c
	}
	go func() {
		defer close(c.made)
		c.own, c.err = network.Start(network.Config{Names: m.names(), Allow: allow, Publish: m.Publish})
		if errors.Is(c.err, network.ErrUnavailable) && len(m.Publish) > 0 {
			c.err = fmt.Errorf("%v; without one no port is published: leave -p out, and the command's ports are this machine's", c.err)
		}
		if errors.Is(c.err, network.ErrUnavailable) && c.limited {
			c.err = fmt.Errorf("%w; without one it cannot be limited what a step reaches: leave --network-allow out", c.err)
		}
	}()
	return c
}

// names are what the hosts file and --dns name.
func (m *Machine) names() []network.Name {
	var names []network.Name
	add := func(name, address string) {
		if a, err := netip.ParseAddr(address); err == nil {
			names = append(names, network.Name{Name: name, Address: a})
		}
	}
	for _, h := range m.Hosts {
		add(h.Name, h.in(NetworkBridge))
	}
	for _, server := range m.DNS.Servers {
		add(server, server)
	}
	return names
}

// Close ends the network.
func (c *Connection) Close() {
	<-c.made
	if c.own != nil {
		c.own.Close()
	}
}

// Report is what the container has asked of the network until now; false where it has not one of its own, so that
// nobody knows.
func (c *Connection) Report() (network.Report, bool) {
	<-c.made
	if c.own == nil {
		return network.Report{}, c.wanted == NetworkNone
	}
	return c.own.Report(), true
}

// tellPublished says where ports are reached that were to be at any free port, and that none are where there is nothing
// to be published from.
func (c *Connection) tellPublished(s *Spec) {
	if c.own == nil {
		if c.err == nil {
			s.Warn(fmt.Sprintf("-p is ignored with --network %s", c.wanted))
		}
		return
	}
	for i, p := range c.own.Published() {
		if s.Machine.Publish[i].At == 0 {
			s.Warn(fmt.Sprintf("port %d is at %s", p.Port, p.At))
		}
	}
}

// use has s use the network, once that is made. Where the machine has none to give, s is on the machine's.
func (c *Connection) use(s *Spec) error {
	<-c.made
	s.Network = c.wanted
	if len(s.Machine.Publish) > 0 && s.Warn != nil {
		c.tellPublished(s)
	}
	if c.limited || !errors.Is(c.err, network.ErrUnavailable) {
		return c.err
	}
	s.Network = NetworkHost
	if s.Warn != nil {
		s.Warn(fmt.Sprintf("%v: steps are on this machine's network, where they reach what listens on its loopback", c.err))
	}
	return nil
}
