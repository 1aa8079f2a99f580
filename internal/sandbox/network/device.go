package network

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ErrUnavailable says that no network can be made here.
var ErrUnavailable = errors.New("no network of its own can be made here")

// mtu spares packets, and with them system calls: nothing but memory is between the container and the stack.
const mtu = 65520

// device is a name space and the interface in it.
type device struct {
	space, tun *os.File
	version6   bool // the machine has a way into the IPv6 internet
}

// openDevice makes them on a thread of its own, which is in the name space and ends after it.
func openDevice() (*device, error) {
	d := &device{version6: reachesVersion6()}
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked
		failed <- d.open()
	}()
	if err := <-failed; err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

func (d *device) close() {
	if d.tun != nil {
		_ = d.tun.Close()
	}
	if d.space != nil {
		_ = d.space.Close()
	}
}

func (d *device) open() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("%w: make a network name space: %w", ErrUnavailable, err)
	}
	// The descriptor belongs to the name space in which it is opened.
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("%w: open /dev/net/tun: %w", ErrUnavailable, err)
	}
	index, err := attach(fd)
	if err != nil {
		_ = unix.Close(fd)
		return fmt.Errorf("%w: make an interface: %w", ErrUnavailable, err)
	}
	d.tun = os.NewFile(uintptr(fd), "/dev/net/tun") // the poller takes it once it is attached
	if d.space, err = os.Open("/proc/thread-self/ns/net"); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	// What docker permits in its containers: ping by any user, and ports below 1024. In a user name space only
	// groups that it has can be named. Without it the network works all the same.
	if write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647") != nil {
		_ = write("/proc/sys/net/ipv4/ping_group_range", "0 65535")
	}
	_ = write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")
	if !d.version6 {
		_ = write("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", "1")
	}
	if err := configure(index, d.version6); err != nil {
		return fmt.Errorf("set up the interface of a container: %w", err)
	}
	return nil
}

func write(file, text string) error { return os.WriteFile(file, []byte(text), 0) }

// attach makes the descriptor the other end of the interface eth0, and returns the interface's index.
func attach(fd int) (int, error) {
	request, err := unix.NewIfreq("eth0")
	if err != nil {
		return 0, err
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return 0, err
	}
	// The interface goes with the name space then, for which nobody waits, and not with the descriptor (+20 ms).
	if err := unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1); err != nil {
		return 0, err
	}
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(socket)
	if err := unix.IoctlIfreq(socket, unix.SIOCGIFINDEX, request); err != nil {
		return 0, err
	}
	return int(request.Uint32()), nil
}

// configure gives the interface its addresses and routes, and brings the loopback up.
func configure(index int, version6 bool) error {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer handle.Close()
	loopback := &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: 1}}
	link := &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: index}}
	err = errors.Join(handle.LinkSetUp(loopback), handle.LinkSetMTU(link, mtu),
		addAddress(handle, link, containerAddress, prefixLength, 32), handle.LinkSetUp(link), addRoute(handle, index, gatewayAddress))
	if err == nil && version6 {
		err = errors.Join(addAddress(handle, link, containerAddress6, prefixLength6, 128), addRoute(handle, index, gatewayAddress6))
	}
	return err
}

func addAddress(handle *netlink.Handle, link netlink.Link, address string, ones, bits int) error {
	a := &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(address), Mask: net.CIDRMask(ones, bits)}}
	if bits == 128 {
		a.Flags = unix.IFA_F_NODAD
	}
	return handle.AddrAdd(link, a)
}

func addRoute(handle *netlink.Handle, index int, gateway string) error {
	return handle.RouteAdd(&netlink.Route{LinkIndex: index, Gw: net.ParseIP(gateway)})
}

// reachesVersion6 asks the kernel for its route to an address of the IPv6 internet. Nothing is sent.
func reachesVersion6() bool {
	routes, err := netlink.RouteGet(net.ParseIP("2001:4860:4860::8888"))
	return err == nil && len(routes) > 0 && routes[0].Type == unix.RTN_UNICAST
}
