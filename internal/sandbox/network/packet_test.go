package network

import (
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// synPacket asks for a connection with a port of the machine, from an address that nobody has.
func synPacket(port int) []byte {
	from, to := toStack(netip.MustParseAddr("198.19.255.6")), toStack(HostAddress())
	packet := make([]byte, header.IPv4MinimumSize+header.TCPMinimumSize)
	ip, segment := header.IPv4(packet), header.TCP(packet[header.IPv4MinimumSize:])
	ip.Encode(&header.IPv4Fields{TotalLength: uint16(len(packet)), TTL: 64, Protocol: uint8(header.TCPProtocolNumber), SrcAddr: from, DstAddr: to})
	ip.SetChecksum(^ip.CalculateChecksum())
	segment.Encode(&header.TCPFields{SrcPort: 4000, DstPort: uint16(port), SeqNum: 1, DataOffset: header.TCPMinimumSize, Flags: header.TCPFlagSyn, WindowSize: 65535})
	sum := header.PseudoHeaderChecksum(header.TCPProtocolNumber, from, to, header.TCPMinimumSize)
	segment.SetChecksum(^segment.CalculateChecksum(checksum.Checksum(nil, sum)))
	return packet
}
