package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

// begin makes a network, or skips the test where the machine has none to give.
func begin(t testing.TB, c Config) *Network {
	t.Helper()
	if _, err := os.Stat("/dev/net/tun"); err != nil || os.Geteuid() != 0 {
		t.Skip("it takes root and /dev/net/tun")
	}
	n, err := Start(c)
	must(t, err)
	t.Cleanup(n.Close)
	return n
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// within runs f on a thread in the network. Sockets that it makes are the network's; goroutines that it starts are not.
func (n *Network) within(t testing.TB, f func()) {
	t.Helper()
	entered := make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		space, err := os.Open(n.Path())
		if err == nil {
			err = unix.Setns(int(space.Fd()), unix.CLONE_NEWNET)
			space.Close()
		}
		entered <- err
		if err == nil {
			f()
		}
	}()
	must(t, <-entered)
	<-done
}

// dial makes a socket of the network, and connects it.
func (n *Network) connectTo(t testing.TB, network, address string) (conn net.Conn, err error) {
	t.Helper()
	n.within(t, func() { conn, err = (&net.Dialer{Timeout: time.Minute}).Dial(network, address) })
	return conn, err
}

// machine is a network from which the machine's loopback is reached as "machine".
func machine(t testing.TB) *Network {
	return begin(t, Config{Names: []Name{{"machine", HostAddress()}}})
}

func listen(t testing.TB, serve func(c *net.TCPConn)) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c.(*net.TCPConn))
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

func at(port int) string { return fmt.Sprintf("%s:%d", hostAddress, port) }

// A connection ends one way at a time, and large transfers arrive whole.
func TestConnectionHalfClosed(t *testing.T) {
	port := listen(t, func(c *net.TCPConn) {
		defer c.Close()
		all, _ := io.ReadAll(c) // until the other side is done
		_, _ = c.Write(all)
	})
	n := machine(t)
	c, err := n.connectTo(t, "tcp", at(port))
	must(t, err)
	defer c.Close()
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	_, err = c.Write(sent)
	must(t, err)
	must(t, c.(*net.TCPConn).CloseWrite())
	got, err := io.ReadAll(c)
	must(t, err)
	if !bytes.Equal(got, sent) {
		t.Errorf("%d of %d bytes came back, or other ones", len(got), len(sent))
	}
	if want := []string{fmt.Sprintf("machine:%d", port)}; !slices.Equal(n.Report().Hosts, want) {
		t.Errorf("reached %q, want %q", n.Report().Hosts, want)
	}
}

// Ports are reached from outside, large transfers arrive whole, and where nobody listens the connection is reset.
func TestPublish(t *testing.T) {
	n := begin(t, Config{Publish: []Port{{On: "127.0.0.1", Port: 80}, {On: "127.0.0.1", Port: 81}}})
	var l net.Listener
	n.within(t, func() {
		var err error
		l, err = net.Listen("tcp", "0.0.0.0:80")
		must(t, err)
	})
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all, _ := io.ReadAll(c)
			_, _ = c.Write(all)
			c.Close()
		}
	}()
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
	for range 2 {
		c, err := net.Dial("tcp", n.Published()[0].At.String())
		must(t, err)
		_, err = c.Write(sent)
		must(t, err)
		must(t, c.(*net.TCPConn).CloseWrite())
		got, err := io.ReadAll(c)
		must(t, err)
		c.Close()
		if !bytes.Equal(got, sent) {
			t.Errorf("%d of %d bytes came back, or other ones", len(got), len(sent))
		}
	}
	c, err := net.Dial("tcp", n.Published()[1].At.String())
	if err == nil { // else the reset came before this process had looked
		_, err = c.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("nobody listens: %v", err)
	}
	taken := n.Published()[0].At.(*net.TCPAddr).Port
	if other, err := Start(Config{Publish: []Port{{On: "127.0.0.1", At: uint16(taken), Port: 80}}}); !errors.Is(err, syscall.EADDRINUSE) {
		other.Close()
		t.Errorf("a port that is taken: %v", err)
	}
}

// What is closed is refused at once, and noted where it is the machine's.
func TestMachineIsOutOfReach(t *testing.T) {
	port := listen(t, func(c *net.TCPConn) { c.Close() })
	n := begin(t, Config{})
	own := []string{hostAddress}
	addresses, err := net.InterfaceAddrs()
	must(t, err)
	for _, a := range addresses {
		if p := netip.MustParsePrefix(a.String()).Addr(); p.Is4() && p.IsGlobalUnicast() {
			own = append(own, p.String())
		}
	}
	for _, a := range append(own, "169.254.169.254", "198.19.255.3", gatewayAddress) {
		if _, err := n.connectTo(t, "tcp", fmt.Sprintf("%s:%d", a, port)); !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, syscall.EACCES) && !errors.Is(err, syscall.ENETUNREACH) {
			t.Errorf("%s: %v", a, err)
		}
	}
	if got := n.Report().Machine; len(got) != len(own) {
		t.Errorf("noted %q of %q", got, own)
	}
	if len(n.Report().Hosts) > 0 {
		t.Errorf("reached %q", n.Report().Hosts)
	}
	// Its own loopback is there, and nothing listens on it.
	if _, err := n.connectTo(t, "tcp", fmt.Sprintf("127.0.0.1:%d", port)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("loopback: %v", err)
	}
}

func TestTargets(t *testing.T) {
	p := newPolicy(Config{Names: []Name{{"named", netip.MustParseAddr("10.1.2.3")}}})
	for address, want := range map[string]error{
		"127.0.0.1": errMachine, "127.8.8.8": errMachine, "0.0.0.0": errMachine, "0.1.2.3": errMachine, "::1": errMachine, "::": errMachine,
		"::ffff:127.0.0.1": errMachine, "::ffff:169.254.169.254": errLocal, "169.254.169.254": errLocal, "fe80::1": errLocal, "224.0.0.1": errLocal,
		"255.255.255.255": errLocal, "fd00:ec2::254": errLocal, hostAddress: errMachine, containerAddress: errLocal, gatewayAddress6: errLocal,
		"ff02::1": errLocal, "10.1.2.3": nil,
	} {
		if _, err := p.targets(netip.AddrPortFrom(netip.MustParseAddr(address), 80)); err != want {
			t.Errorf("%s: %v, want %v", address, err, want)
		}
	}
}

// A refusal and a reset reach the container as such.
func TestRefusedAndReset(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	closed := l.Addr().(*net.TCPAddr).Port
	l.Close()
	n := machine(t)
	if _, err := n.connectTo(t, "tcp", at(closed)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("nobody listens: %v", err)
	}
	port := listen(t, func(c *net.TCPConn) {
		_, _ = c.Read(make([]byte, 1))
		_ = c.SetLinger(0)
		c.Close()
	})
	c, err := n.connectTo(t, "tcp", at(port))
	must(t, err)
	defer c.Close()
	_, err = c.Write([]byte("x"))
	must(t, err)
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("reset: %v", err)
	}
}

func TestDatagrams(t *testing.T) {
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	defer server.Close()
	go func() {
		b := make([]byte, largestDatagram)
		for {
			size, from, err := server.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = server.WriteTo(b[:size], from)
		}
	}()
	n := machine(t)
	port := server.LocalAddr().(*net.UDPAddr).Port
	c, err := n.connectTo(t, "udp", at(port))
	must(t, err)
	defer c.Close()
	for _, size := range []int{1, 1400, 40000} {
		sent := bytes.Repeat([]byte("u"), size)
		_, err = c.Write(sent)
		must(t, err)
		got := make([]byte, largestDatagram)
		_ = c.SetReadDeadline(time.Now().Add(time.Minute))
		m, err := c.Read(got)
		must(t, err)
		if !bytes.Equal(got[:m], sent) {
			t.Errorf("%d bytes came back of %d", m, size)
		}
	}
	if want := []string{fmt.Sprintf("machine:%d/udp", port)}; !slices.Equal(n.Report().Hosts, want) {
		t.Errorf("reached %q, want %q", n.Report().Hosts, want)
	}
	// Nobody is there.
	refused, err := n.connectTo(t, "udp", "198.19.255.3:9")
	must(t, err)
	defer refused.Close()
	_, err = refused.Write([]byte("x"))
	must(t, err)
	_ = refused.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := refused.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("nobody there: %v", err)
	}
}

// nameServer is a server that knows test.example.org, by datagrams and by connections.
func nameServer(t testing.TB, known map[string]string) netip.AddrPort {
	t.Helper()
	answer := func(query []byte) []byte {
		var m dnsmessage.Message
		if m.Unpack(query) != nil || len(m.Questions) != 1 {
			return nil
		}
		q := m.Questions[0]
		m.Response, m.Additionals = true, nil
		address, ok := known[canonical(q.Name.String())]
		switch {
		case !ok:
			m.RCode = dnsmessage.RCodeNameError
		case q.Type == dnsmessage.TypeA:
			m.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 60}, Body: &dnsmessage.AResource{A: netip.MustParseAddr(address).As4()},
			}}
		}
		packed, _ := m.Pack()
		return packed
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for {
					query, err := readMessage(c)
					if err != nil || writeMessage(c, answer(query)) != nil {
						return
					}
				}
			}()
		}
	}()
	p, err := net.ListenPacket("udp", l.Addr().String())
	must(t, err)
	t.Cleanup(func() { p.Close() })
	go func() {
		b := make([]byte, largestDatagram)
		for {
			size, from, err := p.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = p.WriteTo(answer(b[:size]), from)
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String())
}

// lookup asks as a program of the container would.
func (n *Network) lookup(t testing.TB, network, name string) ([]string, error) {
	t.Helper()
	r := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return n.connectTo(t, network, net.JoinHostPort(Resolver(), "53"))
	}}
	return r.LookupHost(t.Context(), name)
}

func TestNames(t *testing.T) {
	server := nameServer(t, map[string]string{"test.example.org": "10.9.8.7"})
	// The first is deaf: the next is asked.
	n := begin(t, Config{Resolvers: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1"), server}})
	for _, network := range []string{"udp", "tcp"} {
		got, err := n.lookup(t, network, "test.example.org.")
		if err != nil || !slices.Equal(got, []string{"10.9.8.7"}) {
			t.Errorf("%s: %q, %v", network, got, err)
		}
		if _, err := n.lookup(t, network, "none.example.org."); err == nil || !strings.Contains(err.Error(), "no such host") {
			t.Errorf("%s: unknown name: %v", network, err)
		}
	}
	if want := []string{"test.example.org"}; !slices.Equal(n.Report().Names, want) {
		t.Errorf("noted %q, want %q", n.Report().Names, want)
	}
}

func TestAllow(t *testing.T) {
	port := listen(t, func(c *net.TCPConn) { c.Close() })
	server := nameServer(t, map[string]string{"a.example.org": "10.9.8.7", "b.example.net": "10.9.8.6"})
	allow, err := ParseAllow([]string{"*.example.org", fmt.Sprintf("machine:%d", port)})
	must(t, err)
	n := begin(t, Config{Allow: allow, Resolvers: []netip.AddrPort{server}, Names: []Name{{"machine", HostAddress()}}})
	if got, err := n.lookup(t, "udp", "a.example.org."); err != nil || !slices.Equal(got, []string{"10.9.8.7"}) {
		t.Errorf("allowed: %q, %v", got, err)
	}
	if _, err := n.lookup(t, "udp", "b.example.net."); err == nil || !strings.Contains(err.Error(), "no such host") {
		t.Errorf("not allowed: %v", err)
	}
	// A server of the container's choice would say of its own address that it is a.example.org.
	if got := n.upstreams(netip.MustParseAddrPort("192.0.2.1:53")); !slices.Equal(got, []netip.AddrPort{server}) {
		t.Errorf("questions to another server go to %v", got)
	}
	c, err := n.connectTo(t, "tcp", at(port))
	must(t, err)
	c.Close()
	for _, address := range []string{"10.9.8.6:80", at(port + 1)} {
		if _, err := n.connectTo(t, "tcp", address); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s: %v", address, err)
		}
	}
	if want := []string{"b.example.net", "10.9.8.6:80", fmt.Sprintf("machine:%d", port+1)}; !slices.Equal(n.Report().Refused, want) {
		t.Errorf("refused %q, want %q", n.Report().Refused, want)
	}
}

func TestParseAllow(t *testing.T) {
	a, err := ParseAllow([]string{"Pypi.org.", "*.debian.org:80", "10.0.0.0/8", "[::1]:5", "::2", "192.0.2.7:443"})
	must(t, err)
	for _, c := range []struct {
		to, name string
		want     bool
	}{
		{"1.1.1.1:443", "pypi.org", true}, {"1.1.1.1:443", "x.pypi.org", false}, {"1.1.1.1:80", "deb.debian.org", true},
		{"1.1.1.1:81", "deb.debian.org", false}, {"1.1.1.1:80", "debian.org", false}, {"10.4.4.4:1", "", true}, {"[::1]:5", "", true},
		{"[::1]:6", "", false}, {"[::2]:6", "", true}, {"192.0.2.7:443", "", true}, {"192.0.2.7:80", "", false}, {"1.1.1.1:443", "", false},
	} {
		var names []string
		if c.name != "" {
			names = []string{c.name}
		}
		if got := a.address(netip.MustParseAddrPort(c.to), names); got != c.want {
			t.Errorf("%s %s: %v", c.to, c.name, got)
		}
	}
	for _, text := range []string{"", "https://pypi.org", "pypi.org/simple", "a b", "pypi.org:0", "pypi.org:http", "*", "a*.org"} {
		if _, err := ParseAllow([]string{text}); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

// The gateway answers a ping, nobody else in its place.
func TestPing(t *testing.T) {
	n := begin(t, Config{})
	ping := func(address string) error {
		var socket int
		var err error
		n.within(t, func() { socket, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP) })
		must(t, err)
		defer unix.Close(socket)
		must(t, unix.SetsockoptTimeval(socket, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 30}))
		if address != gatewayAddress {
			must(t, unix.SetsockoptTimeval(socket, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 200000}))
		}
		to := &unix.SockaddrInet4{Addr: netip.MustParseAddr(address).As4()}
		must(t, unix.Sendto(socket, []byte{8, 0, 0, 0, 0, 0, 0, 1, 'h', 'i'}, 0, to))
		_, _, err = unix.Recvfrom(socket, make([]byte, 100), 0)
		return err
	}
	must(t, ping(gatewayAddress))
	if err := ping("10.255.255.254"); err == nil {
		t.Error("nobody's address answers")
	}
}

// Close ends what is under way, and leaves neither goroutines nor descriptors.
func TestClose(t *testing.T) {
	port := listen(t, func(c *net.TCPConn) { _, _ = io.Copy(io.Discard, c) })
	run := func() {
		n := machine(t)
		c, err := n.connectTo(t, "tcp", at(port))
		must(t, err)
		defer c.Close()
		u, err := n.connectTo(t, "udp", at(port))
		must(t, err)
		defer u.Close()
		_, _ = u.Write([]byte("x"))
		// A handshake that never ends: the packet is written by hand.
		n.within(t, func() { halfOpen(t, port) })
		n.Close()
		n.Close()
	}
	run()
	before := runtime.NumGoroutine()
	began := time.Now()
	for range 5 {
		run()
	}
	if took := time.Since(began); took > time.Minute {
		t.Errorf("five networks took %s", took)
	}
	for end := time.Now().Add(time.Minute); runtime.NumGoroutine() > before+10; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}

// halfOpen sends a SYN from an address that nobody has, so that nobody answers what comes back.
func halfOpen(t testing.TB, port int) {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	must(t, err)
	defer unix.Close(socket)
	must(t, unix.Sendto(socket, synPacket(port), 0, &unix.SockaddrInet4{Addr: HostAddress().As4()}))
}

func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		begin(b, Config{}).Close()
	}
}

// Bytes from the machine's loopback to the container.
func BenchmarkDownload(b *testing.B) {
	block := make([]byte, 1<<20)
	port := listen(b, func(c *net.TCPConn) {
		for {
			if _, err := c.Write(block); err != nil {
				return
			}
		}
	})
	n := machine(b)
	c, err := n.connectTo(b, "tcp", at(port))
	must(b, err)
	defer c.Close()
	b.SetBytes(int64(len(block)))
	for b.Loop() {
		_, err := io.ReadFull(c, block)
		must(b, err)
	}
}

// Bytes from the container to the machine's loopback.
func BenchmarkUpload(b *testing.B) {
	port := listen(b, func(c *net.TCPConn) { _, _ = io.Copy(io.Discard, c) })
	n := machine(b)
	c, err := n.connectTo(b, "tcp", at(port))
	must(b, err)
	defer c.Close()
	block := make([]byte, 1<<20)
	b.SetBytes(int64(len(block)))
	for b.Loop() {
		_, err := c.Write(block)
		must(b, err)
	}
}
