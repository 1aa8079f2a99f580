package network

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// connect makes the connection that the container asks for. The container's is only made when there is one to the
// destination, so that it sees a refusal as one.
func (n *Network) connect(r *tcp.ForwarderRequest) {
	if !n.flows.begin() {
		r.Complete(false)
		return
	}
	defer n.flows.Done()
	to := destination(r.ID())
	if n.asksNames(to) {
		if step := accept(r); step != nil {
			defer step.end(n.ctx)()
			n.answerStream(step, n.upstreams(to))
		}
		return
	}
	remote, err := n.dial(to)
	if err != nil {
		r.Complete(true)
		return
	}
	defer remote.Close()
	step := accept(r)
	if step == nil {
		return
	}
	defer step.end(n.ctx)()
	defer context.AfterFunc(n.ctx, func() { remote.Close() })()
	splice(step, remote)
}

// dial connects with a destination, if it may be reached.
func (n *Network) dial(to netip.AddrPort) (*net.TCPConn, error) {
	targets, err := n.reach(to, "")
	if err != nil {
		return nil, err
	}
	var dialer net.Dialer
	for _, target := range targets {
		var c net.Conn
		if c, err = dialer.DialContext(n.ctx, "tcp", target.String()); err == nil {
			return c.(*net.TCPConn), nil
		}
	}
	return nil, err
}

// stepConn is a connection with a process of the container.
type stepConn struct {
	*gonet.TCPConn
	abort func()
}

// accept is nil where the container has gone away meanwhile.
func accept(r *tcp.ForwarderRequest) *stepConn {
	var queue waiter.Queue
	endpoint, err := r.CreateEndpoint(&queue)
	r.Complete(err != nil)
	if err != nil {
		return nil
	}
	return &stepConn{gonet.NewTCPConn(&queue, endpoint), endpoint.Abort}
}

// end ends the connection with ctx, or when what it returns is called.
func (c *stepConn) end(ctx context.Context) func() {
	stop := context.AfterFunc(ctx, c.abort)
	return func() {
		stop()
		_ = c.Close()
	}
}

// buffers are what bytes are copied by.
var buffers = sync.Pool{New: func() any { b := make([]byte, 128<<10); return &b }}

// splice copies both ways until both have ended. The end of one way is passed on as such, an error as a reset.
func splice(step *stepConn, remote *net.TCPConn) {
	reset := func() {
		_ = remote.SetLinger(0)
		_ = remote.Close()
		step.abort()
	}
	var ways sync.WaitGroup
	ways.Go(func() {
		if copyAll(remote, step) != nil || remote.CloseWrite() != nil {
			reset()
		}
	})
	if copyAll(step, remote) != nil || step.CloseWrite() != nil {
		reset()
	}
	ways.Wait()
}

func copyAll(to io.Writer, from io.Reader) error {
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	for {
		n, err := from.Read(*buffer)
		if n > 0 {
			if _, werr := to.Write((*buffer)[:n]); werr != nil {
				return werr
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
