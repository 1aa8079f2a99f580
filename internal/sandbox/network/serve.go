package network

import (
	"errors"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

// nic is the stack's only interface.
const nic tcpip.NICID = 1

// Buffers of a connection between container and stack, in bytes. They grow up to the largest as they are used.
const (
	defaultBuffer = 512 << 10
	largestBuffer = 4 << 20
)

// serve starts the stack. It takes every packet for its own, whatever address it is for.
func (n *Network) serve(version6 bool) error {
	n.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
	})
	if err := n.tune(); err != nil {
		return stackError(err)
	}
	connect := tcp.NewForwarder(n.stack, 0, maxFlows, n.connect)
	n.stack.SetTransportProtocolHandler(tcp.ProtocolNumber, connect.HandlePacket)
	converse := udp.NewForwarder(n.stack, n.converse)
	n.stack.SetTransportProtocolHandler(udp.ProtocolNumber, converse.HandlePacket)
	if err := n.stack.CreateNIC(nic, n.link); err != nil {
		return stackError(err)
	}
	gateways := []string{gatewayAddress}
	if version6 {
		gateways = append(gateways, gatewayAddress6)
	}
	for _, gateway := range gateways {
		address := toStack(netip.MustParseAddr(gateway))
		protocol := header.IPv4ProtocolNumber
		if address.Len() == header.IPv6AddressSize {
			protocol = header.IPv6ProtocolNumber
		}
		at := tcpip.ProtocolAddress{Protocol: protocol, AddressWithPrefix: address.WithPrefix()}
		if err := n.stack.AddProtocolAddress(nic, at, stack.AddressProperties{}); err != nil {
			return stackError(err)
		}
	}
	n.stack.SetRouteTable([]tcpip.Route{
		{Destination: header.IPv4EmptySubnet, NIC: nic}, {Destination: header.IPv6EmptySubnet, NIC: nic},
	})
	if err := n.stack.SetPromiscuousMode(nic, true); err != nil {
		return stackError(err)
	}
	if err := n.stack.SetSpoofing(nic, true); err != nil {
		return stackError(err)
	}
	return nil
}

// tune sets what makes connections fast.
func (n *Network) tune() tcpip.Error {
	sack, moderate := tcpip.TCPSACKEnabled(true), tcpip.TCPModerateReceiveBufferOption(true)
	receive := tcpip.TCPReceiveBufferSizeRangeOption{Min: tcp.MinBufferSize, Default: defaultBuffer, Max: largestBuffer}
	send := tcpip.TCPSendBufferSizeRangeOption{Min: tcp.MinBufferSize, Default: defaultBuffer, Max: largestBuffer}
	for _, option := range []tcpip.SettableTransportProtocolOption{&sack, &moderate, &receive, &send} {
		if err := n.stack.SetTransportProtocolOption(tcp.ProtocolNumber, option); err != nil {
			return err
		}
	}
	return nil
}

func stackError(err tcpip.Error) error {
	return errors.New("start the network of a container: " + err.String())
}

func toStack(a netip.Addr) tcpip.Address {
	if a.Is4() {
		return tcpip.AddrFrom4(a.As4())
	}
	return tcpip.AddrFrom16(a.As16())
}

// destination is where a packet of the container is to go.
func destination(id stack.TransportEndpointID) netip.AddrPort {
	return netip.AddrPortFrom(fromStack(id.LocalAddress), id.LocalPort)
}

func fromStack(a tcpip.Address) netip.Addr {
	address, _ := netip.AddrFromSlice(a.AsSlice())
	return address.Unmap()
}
