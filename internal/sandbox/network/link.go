package network

import (
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// link is the stack's side of the interface: whole IP packets, one in each read and write.
type link struct {
	tun  *os.File
	ping func(packet []byte)

	mu         sync.RWMutex
	dispatcher stack.NetworkDispatcher
	reading    sync.WaitGroup
}

// newLink makes a link. ping gets echo requests to others than the gateway, which the stack would all answer itself.
func newLink(tun *os.File, ping func(packet []byte)) *link { return &link{tun: tun, ping: ping} }

// Attach starts to deliver packets.
func (l *link) Attach(dispatcher stack.NetworkDispatcher) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dispatcher == nil && dispatcher != nil {
		l.reading.Go(l.read)
	}
	l.dispatcher = dispatcher
}

// read delivers packets until the device is closed.
func (l *link) read() {
	packet := make([]byte, mtu+64)
	for {
		n, err := l.tun.Read(packet)
		if err != nil {
			return
		}
		l.deliver(packet[:n])
	}
}

func (l *link) deliver(packet []byte) {
	protocol := header.IPv4ProtocolNumber
	switch {
	case len(packet) == 0:
		return
	case header.IPVersion(packet) == 6:
		protocol = header.IPv6ProtocolNumber
	}
	switch whose(packet) {
	case ofNobody:
		return
	case ofPing:
		l.ping(packet)
		return
	}
	l.mu.RLock()
	dispatcher := l.dispatcher
	l.mu.RUnlock()
	if dispatcher == nil {
		return
	}
	p := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(packet)})
	dispatcher.DeliverNetworkPacket(protocol, p)
	p.DecRef()
}

// WritePackets sends packets to the container.
func (l *link) WritePackets(packets stack.PacketBufferList) (int, tcpip.Error) {
	written := 0
	for _, p := range packets.AsSlice() {
		if err := l.write(p.AsSlices()); err != nil {
			return written, &tcpip.ErrAborted{}
		}
		written++
	}
	return written, nil
}

// write sends one packet that is in parts. It holds the descriptor, which Close may take away meanwhile.
func (l *link) write(parts [][]byte) error {
	conn, err := l.tun.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Write(func(fd uintptr) bool {
		_, failed = unix.Writev(int(fd), parts)
		return failed != unix.EAGAIN
	})
	if err != nil {
		return err
	}
	return failed
}

// Close ends reading. The kernel takes milliseconds to close the device, for which nobody waits.
func (l *link) Close() {
	_ = l.tun.SetReadDeadline(time.Now())
	go l.tun.Close()
}

// Wait waits until nothing is delivered any more.
func (l *link) Wait() { l.reading.Wait() }

// IsAttached tells whether packets are delivered.
func (l *link) IsAttached() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.dispatcher != nil
}

// MTU is the size of the largest packet in bytes.
func (l *link) MTU() uint32 { return mtu }

// Capabilities are none but that packets of this machine's memory need no checksums to be checked.
func (l *link) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityRXChecksumOffload
}

// The rest of stack.LinkEndpoint is about headers and addresses of a link, which this one does not have.

func (l *link) SetMTU(uint32)                           {}
func (l *link) MaxHeaderLength() uint16                 { return 0 }
func (l *link) LinkAddress() tcpip.LinkAddress          { return "" }
func (l *link) SetLinkAddress(tcpip.LinkAddress)        {}
func (l *link) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareNone }
func (l *link) AddHeader(*stack.PacketBuffer)           {}
func (l *link) ParseHeader(*stack.PacketBuffer) bool    { return true }
func (l *link) SetOnCloseAction(func())                 {}
