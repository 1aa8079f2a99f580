package network

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Allow is a list of hosts, all others of which are out of reach.
type Allow struct {
	rules []rule
	texts []string
}

// Texts are what ParseAllow has read.
func (a *Allow) Texts() []string { return a.texts }

// rule permits a host by its name, all names below one, or addresses; port 0 is every port.
type rule struct {
	name   string // in lower case; "" where addresses are
	below  bool   // all names below it, and not itself
	prefix netip.Prefix
	port   uint16
}

// ParseAllow reads HOST[:PORT] of each text: a name, *.NAME for all below it, an address, or a prefix as 10.0.0.0/8.
func ParseAllow(texts []string) (*Allow, error) {
	a := &Allow{texts: texts}
	for _, text := range texts {
		r, err := parseRule(text)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", text, err)
		}
		a.rules = append(a.rules, r)
	}
	return a, nil
}

func parseRule(text string) (rule, error) {
	var r rule
	host := text
	if address, err := netip.ParseAddr(text); err == nil {
		r.prefix = netip.PrefixFrom(address.Unmap(), address.Unmap().BitLen())
		return r, nil
	}
	if before, port, err := net.SplitHostPort(text); err == nil {
		number, err := strconv.ParseUint(port, 10, 16)
		if err != nil || number == 0 {
			return r, fmt.Errorf("%s is no port; it takes HOST or HOST:PORT", port)
		}
		host, r.port = before, uint16(number)
	}
	if prefix, err := netip.ParsePrefix(host); err == nil {
		r.prefix = prefix.Masked()
		return r, nil
	}
	if address, err := netip.ParseAddr(host); err == nil {
		r.prefix = netip.PrefixFrom(address.Unmap(), address.Unmap().BitLen())
		return r, nil
	}
	r.name, r.below = strings.CutPrefix(canonical(host), "*.")
	if r.name == "" || strings.ContainsAny(r.name, "*/:@?# \t") {
		return r, fmt.Errorf("it takes HOST or HOST:PORT, where HOST is a name, *.NAME or an address")
	}
	return r, nil
}

// canonical is a name of the DNS as names are compared: in lower case, without the dot at its end.
func canonical(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

func (r *rule) matches(name string) bool {
	if r.name == "" {
		return false
	}
	if r.below {
		return strings.HasSuffix(name, "."+r.name)
	}
	return name == r.name
}

// name says whether a name may be asked for.
func (a *Allow) name(name string) bool {
	return slices.ContainsFunc(a.rules, func(r rule) bool { return r.matches(name) })
}

// address says whether a destination may be reached, which has these names. Port 0 is that of a ping.
func (a *Allow) address(to netip.AddrPort, names []string) bool {
	return slices.ContainsFunc(a.rules, func(r rule) bool {
		if r.port != 0 && to.Port() != 0 && r.port != to.Port() {
			return false
		}
		return r.prefix.IsValid() && r.prefix.Contains(to.Addr().Unmap()) || slices.ContainsFunc(names, r.matches)
	})
}
