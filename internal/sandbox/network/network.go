// Package network gives a container a network of its own: a network name space with one interface, behind which a
// TCP/IP stack in this process answers. What the container sends is carried on by sockets of this process, so it
// reaches what this process reaches, and not the machine itself: not its loopback, its addresses, its abstract sockets
// or its traffic.
//
//	container ── eth0 (TUN) ── device ── link ── gVisor's stack ── tcp, udp ── sockets of this process
//	                                        └── icmp                └── dns ── the machine's resolvers
//
// The name space and the interface are held by descriptors of this process alone and go with them, also when it is
// killed. It takes no rights but those to make a network name space, and /dev/net/tun.
package network

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// Config is what a network is to be like.
type Config struct {
	// Names are the lines of the container's hosts file: the names of addresses, which may be reached as they are asked
	// for, also where they are the machine's own. HostAddress is the machine's loopback.
	Names []Name
	// Allow is all that may be reached, when not nil.
	Allow *Allow
	// Publish are ports of the container that are reached from outside.
	Publish []Port
	// Resolvers answer questions for names; nil are the machine's.
	Resolvers []netip.AddrPort
}

// Name is a name that an address has.
type Name struct {
	Name    string
	Address netip.Addr
}

// Addresses of the network, of a range for tests of routers (RFC 2544) that neither networks nor container engines use.
const (
	containerAddress = "198.19.255.2"
	gatewayAddress   = "198.19.255.1"
	hostAddress      = "198.19.255.4"
	prefixLength     = 29

	containerAddress6 = "fd73:7472:6174:61::2"
	gatewayAddress6   = "fd73:7472:6174:61::1"
	prefixLength6     = 64
)

// Resolver is the address at which questions for names are answered.
func Resolver() string { return gatewayAddress }

// HostAddress is where the machine's loopback is reached, if a line of the hosts file names it.
func HostAddress() netip.Addr { return netip.MustParseAddr(hostAddress) }

// Network is a container's network. Close ends it.
type Network struct {
	policy    policy
	seen      seen
	resolvers []netip.AddrPort
	published []Published

	space *os.File // the name space
	stack *stack.Stack
	link  *link

	ctx    context.Context // ends with the network
	cancel context.CancelFunc
	flows  flows
	limit  chan struct{} // a place for each flow of UDP, question and ping
}

// maxFlows bounds flows of UDP, questions and pings at a time, and connections that are being made.
const maxFlows = 1024

// Start makes a network. An error that is ErrUnavailable says that this machine or user has none to give.
func Start(c Config) (*Network, error) {
	d, err := openDevice()
	if err != nil {
		return nil, err
	}
	n := &Network{policy: newPolicy(c), resolvers: c.Resolvers, space: d.space, limit: make(chan struct{}, maxFlows)}
	n.seen.names(c.Names)
	if n.resolvers == nil {
		n.resolvers = machineResolvers()
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.link = newLink(d.tun, n.ping)
	err = n.serve(d.version6)
	if err == nil {
		err = n.publish(c.Publish)
	}
	if err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

// Path is the name space as a file that a process of this machine can enter.
func (n *Network) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.space.Fd()) }

// Close ends all connections and removes the name space once no process is in it. It may be called again.
func (n *Network) Close() {
	if !n.flows.close() {
		return
	}
	n.cancel()
	n.link.Close()
	n.link.Wait()
	if n.stack != nil {
		n.stack.Close()
	}
	n.flows.Wait()
	if n.stack != nil {
		n.stack.Wait()
	}
	_ = n.space.Close()
}

// flows are the goroutines that carry something for the container.
type flows struct {
	sync.WaitGroup
	mu     sync.Mutex
	closed bool
}

// begin counts one more, or says that none begins any more.
func (f *flows) begin() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.Add(1)
	}
	return !f.closed
}

// close says whether it is the first call.
func (f *flows) close() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	first := !f.closed
	f.closed = true
	return first
}

// start runs a flow on a goroutine of its own, or not at all where there are too many.
func (n *Network) start(flow func()) bool {
	select {
	case n.limit <- struct{}{}:
	default:
		return false
	}
	if !n.flows.begin() {
		<-n.limit
		return false
	}
	go func() {
		defer n.flows.Done()
		defer func() { <-n.limit }()
		flow()
	}()
	return true
}
