package runner

import (
	"fmt"
	"net"
	"strings"
	"unicode"

	"github.com/strata-build/strata/internal/sandbox/network"
)

// Host is a line of a container's /etc/hosts. IP may be HostGateway.
type Host struct{ Name, IP string }

// HostGateway stands for the machine in --add-host: for its loopback, where others than the machine itself do not come.
const HostGateway = "host-gateway"

// in is the address for a container on the network n.
func (h Host) in(n Network) string {
	switch {
	case h.IP != HostGateway:
		return h.IP
	case n == NetworkBridge:
		return network.HostAddress().String()
	}
	return "127.0.0.1"
}

// ParseHost reads what --add-host takes: NAME:IP or NAME=IP, where IP may be in brackets, several with commas between
// them, or host-gateway. Names are in lower case afterwards, as in BuildKit (dockerui, parseExtraHosts).
func ParseHost(text string) ([]Host, error) {
	name, addresses, ok := strings.Cut(text, "=")
	if !ok {
		name, addresses, ok = strings.Cut(text, ":")
	}
	if !ok || name == "" || addresses == "" {
		return nil, fmt.Errorf("%s: it takes NAME:IP or NAME=IP", text)
	}
	unfit := func(r rune) bool {
		return r == '#' || r == ':' || r == ',' || unicode.IsSpace(r) || !unicode.IsPrint(r)
	}
	if strings.ContainsFunc(name, unfit) {
		return nil, fmt.Errorf("%q: %q cannot be a host's name", text, name)
	}
	name = strings.ToLower(name)
	if addresses == HostGateway {
		return []Host{{name, HostGateway}}, nil
	}
	var hosts []Host
	for address := range strings.SplitSeq(addresses, ",") {
		if len(address) > 2 && address[0] == '[' && address[len(address)-1] == ']' {
			address = address[1 : len(address)-1]
		}
		ip := net.ParseIP(address)
		if ip == nil {
			return nil, fmt.Errorf("%s: %q is neither an IP address nor host-gateway", text, address)
		}
		hosts = append(hosts, Host{name, ip.String()})
	}
	return hosts, nil
}

// hostsFile is a container's /etc/hosts, as BuildKit has it (executor/oci/hosts.go).
func hostsFile(hostname string, hosts []Host, n Network) string {
	var b strings.Builder
	b.WriteString("127.0.0.1\tlocalhost " + hostname + "\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	for _, h := range hosts {
		b.WriteString(h.in(n) + "\t" + h.Name + "\n")
	}
	return b.String()
}
