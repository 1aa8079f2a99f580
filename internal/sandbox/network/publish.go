package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
)

// Port is a TCP port of the container that is reached from outside, at a port of this machine.
type Port struct {
	// On is where this machine listens: "" is all its addresses. Its port may be 0 for any that is free.
	On   string
	At   uint16
	Port uint16 // of the container
}

// Published is where a port of the container is reached.
type Published struct {
	Port uint16
	At   net.Addr
}

// publish listens at the ports of the machine.
func (n *Network) publish(ports []Port) error {
	for _, p := range ports {
		l, err := new(net.ListenConfig).Listen(n.ctx, "tcp", net.JoinHostPort(p.On, strconv.Itoa(int(p.At))))
		if err != nil {
			return fmt.Errorf("publishing port %d of the container: %w; take another port of this machine", p.Port, err)
		}
		context.AfterFunc(n.ctx, func() { l.Close() })
		n.published = append(n.published, Published{p.Port, l.Addr()})
		n.flows.Go(func() { n.accept(l, p.Port) })
	}
	return nil
}

// Published is where the ports of the container are reached, in the order of Config.Publish.
func (n *Network) Published() []Published { return n.published }

// accept takes connections from outside until the network ends.
func (n *Network) accept(l net.Listener, port uint16) {
	for {
		remote, err := l.Accept()
		if errors.Is(err, net.ErrClosed) || n.ctx.Err() != nil {
			return
		}
		if err != nil {
			continue // of one that has gone away meanwhile
		}
		if !n.start(func() { n.connectInside(remote.(*net.TCPConn), port) }) {
			remote.Close()
		}
	}
}

// connectInside carries a connection from outside to a port of the container.
func (n *Network) connectInside(remote *net.TCPConn, port uint16) {
	defer remote.Close()
	defer context.AfterFunc(n.ctx, func() { remote.Close() })()
	at := func(address string, port uint16) tcpip.FullAddress {
		return tcpip.FullAddress{NIC: nic, Addr: toStack(netip.MustParseAddr(address)), Port: port}
	}
	c, err := gonet.DialTCPWithBind(n.ctx, n.stack, at(gatewayAddress, 0), at(containerAddress, port), ipv4.ProtocolNumber)
	if err != nil {
		_ = remote.SetLinger(0) // nobody listens there: the other side sees a reset
		return
	}
	step := &stepConn{c, func() { c.Close() }}
	defer step.end(n.ctx)()
	splice(step, remote)
}
