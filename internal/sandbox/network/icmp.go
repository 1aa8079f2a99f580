package network

import (
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/icmp"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

type owner int

const (
	ofStack  owner = iota
	ofPing         // an echo request to somebody outside
	ofNobody       // dropped
)

// whose says who takes a packet. The stack would answer pings to every address, as it takes all for its own.
func whose(packet []byte) owner {
	if header.IPVersion(packet) == 6 {
		ip := header.IPv6(packet)
		switch {
		case len(packet) < header.IPv6MinimumSize:
			return ofNobody
		case ip.TransportProtocol() == header.ICMPv6ProtocolNumber && fromStack(ip.DestinationAddress()).String() != gatewayAddress6:
			return ofNobody
		}
		return ofStack
	}
	ip := header.IPv4(packet)
	switch {
	case !ip.IsValid(len(packet)):
		return ofNobody
	case ip.Protocol() != uint8(header.ICMPv4ProtocolNumber) || fromStack(ip.DestinationAddress()).String() == gatewayAddress:
		return ofStack
	case len(ip.Payload()) < header.ICMPv4MinimumSize || header.ICMPv4(ip.Payload()).Type() != header.ICMPv4Echo || ip.More() || ip.FragmentOffset() != 0:
		return ofNobody
	}
	return ofPing
}

// pingTimeout is how long an answer is waited for.
const pingTimeout = 10 * time.Second

// ping passes an echo request on by a socket that the kernel has for it, where the machine permits them
// (net.ipv4.ping_group_range). Without an answer the container sees none either.
func (n *Network) ping(packet []byte) {
	request := append(header.IPv4(nil), packet...)
	n.start(func() {
		targets, err := n.reach(netip.AddrPortFrom(fromStack(request.DestinationAddress()), 0), "")
		if err != nil {
			return
		}
		socket, err := icmp.ListenPacket("udp4", "0.0.0.0")
		if err != nil {
			return
		}
		defer socket.Close()
		if _, err := socket.WriteTo(request.Payload(), &net.UDPAddr{IP: targets[0].Addr().AsSlice()}); err != nil {
			return
		}
		_ = socket.SetReadDeadline(time.Now().Add(pingTimeout))
		done := make(chan struct{})
		defer close(done)
		go func() {
			select {
			case <-n.ctx.Done():
				socket.Close()
			case <-done:
			}
		}()
		answer := make([]byte, mtu)
		size, _, err := socket.ReadFrom(answer)
		if err != nil || size < header.ICMPv4MinimumSize {
			return
		}
		echo := header.ICMPv4(answer[:size])
		echo.SetIdent(header.ICMPv4(request.Payload()).Ident()) // the kernel had put the socket's
		echo.SetChecksum(0)
		echo.SetChecksum(^checksum.Checksum(echo, 0))
		_ = n.link.write([][]byte{packetTo(request.SourceAddress(), request.DestinationAddress(), echo), echo})
	})
}

// packetTo is the header of an IPv4 packet of ICMP.
func packetTo(to, from tcpip.Address, payload []byte) []byte {
	ip := header.IPv4(make([]byte, header.IPv4MinimumSize))
	ip.Encode(&header.IPv4Fields{
		TotalLength: uint16(len(ip) + len(payload)), TTL: 64, Protocol: uint8(header.ICMPv4ProtocolNumber), SrcAddr: from, DstAddr: to,
	})
	ip.SetChecksum(^ip.CalculateChecksum())
	return ip
}

// portUnreachable is the packet that answers a datagram which nobody takes: the start of the datagram comes back (RFC
// 792). It is nil for IPv6.
func portUnreachable(id stack.TransportEndpointID) []byte {
	if id.LocalAddress.Len() != header.IPv4AddressSize {
		return nil
	}
	quoted := make([]byte, header.IPv4MinimumSize+header.UDPMinimumSize)
	header.IPv4(quoted).Encode(&header.IPv4Fields{
		TotalLength: uint16(len(quoted)), TTL: 64, Protocol: uint8(header.UDPProtocolNumber),
		SrcAddr: id.RemoteAddress, DstAddr: id.LocalAddress,
	})
	header.UDP(quoted[header.IPv4MinimumSize:]).Encode(&header.UDPFields{SrcPort: id.RemotePort, DstPort: id.LocalPort, Length: header.UDPMinimumSize})
	message := append(make([]byte, header.ICMPv4MinimumSize), quoted...)
	echo := header.ICMPv4(message)
	echo.SetType(header.ICMPv4DstUnreachable)
	echo.SetCode(header.ICMPv4PortUnreachable)
	echo.SetChecksum(^checksum.Checksum(echo, 0))
	return append(packetTo(id.RemoteAddress, id.LocalAddress, message), message...)
}
