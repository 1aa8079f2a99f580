package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// policy says which destinations a container reaches.
//
// What is not the machine's: addresses of its interfaces are as closed as its loopback, since what listens there often
// takes whoever is on the machine for a friend. Link-local addresses are closed too; 169.254.169.254 there gives a
// cloud machine's credentials. Addresses of the hosts file are open, since somebody named them.
type policy struct {
	named map[netip.Addr]bool
	allow *Allow
}

func newPolicy(c Config) policy {
	p := policy{named: map[netip.Addr]bool{}, allow: c.Allow}
	for _, n := range c.Names {
		p.named[n.Address.Unmap()] = true
	}
	return p
}

// Why a destination is not reached.
var (
	errMachine = errors.New("an address of the machine")
	errLocal   = errors.New("an address that means something on one network only")
	errAllow   = errors.New("not allowed")
)

// metadata6 gives credentials as 169.254.169.254 does, at an address that is not link-local.
func metadata6() netip.Addr { return netip.MustParseAddr("fd00:ec2::254") }

// targets are what to connect with, one after the other, for a destination.
func (p *policy) targets(to netip.AddrPort) ([]netip.AddrPort, error) {
	address := to.Addr().Unmap().WithZone("")
	at := func(a netip.Addr) netip.AddrPort { return netip.AddrPortFrom(a, to.Port()) }
	ours := netip.PrefixFrom(netip.MustParseAddr(gatewayAddress), prefixLength)
	ours6 := netip.PrefixFrom(netip.MustParseAddr(gatewayAddress6), prefixLength6)
	switch {
	case address == HostAddress():
		if !p.named[address] {
			return nil, errMachine
		}
		return []netip.AddrPort{at(netip.AddrFrom4([4]byte{127, 0, 0, 1})), at(netip.IPv6Loopback())}, nil
	case ours.Masked().Contains(address), ours6.Masked().Contains(address):
		return nil, errLocal
	case address.IsLoopback(), address.Is4() && address.As4()[0] == 0, address.IsUnspecified():
		return nil, errMachine
	case !address.IsGlobalUnicast(), address == metadata6():
		return nil, errLocal
	case p.named[address]:
		return []netip.AddrPort{at(address)}, nil
	case isMachine(address):
		return nil, errMachine
	}
	return []netip.AddrPort{at(address)}, nil
}

// isMachine asks the kernel whether packets to an address stay on this machine.
func isMachine(address netip.Addr) bool {
	routes, err := netlink.RouteGet(address.AsSlice())
	if err == nil {
		return len(routes) > 0 && routes[0].Type != unix.RTN_UNICAST
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return true
	}
	for _, a := range addresses {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr().Unmap() == address {
			return true
		}
	}
	return false
}

// reach says what to connect with for a destination, and notes that it was asked for. kind follows the port in the
// notes.
func (n *Network) reach(to netip.AddrPort, kind string) ([]netip.AddrPort, error) {
	targets, err := n.policy.targets(to)
	names := n.seen.namesOf(to.Addr())
	if err == nil && n.policy.allow != nil && !n.policy.allow.address(to, names) {
		err = errAllow
	}
	label := to.Addr().String()
	if len(names) > 0 {
		label = names[len(names)-1]
	}
	if to.Port() != 0 {
		label = net.JoinHostPort(label, fmt.Sprint(to.Port())) + kind
	}
	n.seen.note(label, err)
	return targets, err
}
