package network

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// idle is after how long without a datagram a flow is forgotten, as the kernel forgets one that was answered
// (net.netfilter.nf_conntrack_udp_timeout_stream is 120 s; nobody opens a port here that is shared).
const idle = 2 * time.Minute

// largestDatagram is the size of the largest in bytes.
const largestDatagram = 65535

// converse takes the first datagram of a port of the container for a destination, and with it those that follow.
func (n *Network) converse(r *udp.ForwarderRequest) {
	id := r.ID()
	var queue waiter.Queue
	endpoint, err := r.CreateEndpoint(&queue)
	if err != nil {
		return
	}
	step := gonet.NewUDPConn(&queue, endpoint)
	flow := func() {
		defer step.Close()
		defer context.AfterFunc(n.ctx, func() { step.Close() })()
		to := destination(id)
		if n.asksNames(to) {
			n.answerDatagrams(step, n.upstreams(to))
			return
		}
		if n.exchange(step, to) != nil {
			n.refuse(id)
		}
	}
	if !n.start(flow) {
		step.Close()
	}
}

// exchange carries datagrams both ways. An error says that nobody is there who takes them.
func (n *Network) exchange(step *gonet.UDPConn, to netip.AddrPort) error {
	targets, err := n.reach(to, "/udp")
	if err != nil {
		return err
	}
	remote, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(targets[0]))
	if err != nil {
		return err
	}
	defer remote.Close()
	defer context.AfterFunc(n.ctx, func() { remote.Close() })()
	n.flows.Go(func() {
		_ = copyDatagrams(remote, step)
		remote.Close() // nothing was sent for a while, or the network ends
	})
	err = copyDatagrams(step, remote)
	step.Close()
	if errors.Is(err, unix.ECONNREFUSED) {
		return err
	}
	return nil
}

// copyDatagrams copies until one way has been idle.
func copyDatagrams(to, from net.Conn) error {
	datagram := make([]byte, largestDatagram)
	for {
		_ = from.SetReadDeadline(time.Now().Add(idle))
		n, err := from.Read(datagram)
		if err != nil {
			return err
		}
		if _, err := to.Write(datagram[:n]); err != nil {
			return err
		}
	}
}

// refuse tells the container that nobody takes the datagrams of a flow.
func (n *Network) refuse(id stack.TransportEndpointID) {
	if n.ctx.Err() == nil {
		_ = n.link.write([][]byte{portUnreachable(id)})
	}
}
