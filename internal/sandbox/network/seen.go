package network

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
)

// Report is what a container asked of its network. It has names and ports, nothing of what was sent. Each list is in
// the order in which that happened, and has at most MaxHosts entries.
type Report struct {
	// Hosts are those that it reached: NAME:PORT, NAME:PORT/udp, or NAME of one that it pinged.
	Hosts []string
	// Names are those that it had resolved and did not reach.
	Names []string
	// Refused are those that Config.Allow kept from it.
	Refused []string
	// Machine are addresses of the machine that it wanted to reach.
	Machine []string
}

// ReachMachine says how the machine is reached.
const ReachMachine = "it is reached with --network=host, or at NAME with --add-host NAME:host-gateway"

// Advice says what was kept from who asked, such as "the step", and what to do; "" where nothing was.
func (r Report) Advice(who string) string {
	switch {
	case len(r.Refused) > 0:
		return who + " wanted " + strings.Join(r.Refused, ", ") + ", which --network-allow does not permit"
	case len(r.Machine) > 0:
		return who + " wanted " + strings.Join(r.Machine, ", ") + ", which is this machine: " + ReachMachine
	}
	return ""
}

// MaxHosts bounds a list of a Report.
const MaxHosts = 100

// Bounds on what is remembered of answers to questions for names, which come from anybody.
const (
	maxAddresses       = 4096
	maxNamesOfAddress  = 8
	maxNamesOfQuestion = 255 // bytes (RFC 1035)
)

// seen notes what a container asks for.
type seen struct {
	mu        sync.Mutex
	addresses map[netip.Addr][]string // the names that each address was an answer for, the latest last
	resolved  []string
	report    Report
}

// names notes the names of a hosts file.
func (s *seen) names(names []Name) {
	for _, n := range names {
		s.add(canonical(n.Name), n.Address.Unmap())
	}
}

// resolve notes the answer for a name.
func (s *seen) resolve(name string, addresses []netip.Addr) {
	if len(addresses) == 0 || len(name) > maxNamesOfQuestion {
		return
	}
	for _, a := range addresses {
		s.add(name, a.Unmap())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resolved = note(s.resolved, name)
}

func (s *seen) add(name string, address netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.addresses == nil {
		s.addresses = map[netip.Addr][]string{}
	}
	names := s.addresses[address]
	if names == nil && len(s.addresses) >= maxAddresses {
		return
	}
	names = append(slices.DeleteFunc(names, func(n string) bool { return n == name }), name)
	s.addresses[address] = names[max(0, len(names)-maxNamesOfAddress):]
}

func (s *seen) namesOf(address netip.Addr) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.addresses[address.Unmap()])
}

// note notes that a host was wanted, and what came of it.
func (s *seen) note(host string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch err {
	case nil:
		s.report.Hosts = note(s.report.Hosts, host)
	case errAllow:
		s.report.Refused = note(s.report.Refused, host)
	case errMachine:
		s.report.Machine = note(s.report.Machine, host)
	}
}

func note(list []string, entry string) []string {
	if len(list) >= MaxHosts || slices.Contains(list, entry) {
		return list
	}
	return append(list, entry)
}

// Report is what the container has asked for until now.
func (n *Network) Report() Report {
	s := &n.seen
	s.mu.Lock()
	defer s.mu.Unlock()
	r := Report{Hosts: slices.Clone(s.report.Hosts), Refused: slices.Clone(s.report.Refused), Machine: slices.Clone(s.report.Machine)}
	for _, name := range s.resolved {
		reached := func(host string) bool { return strings.HasPrefix(host, name+":") || host == name }
		if !slices.ContainsFunc(r.Hosts, reached) && !slices.ContainsFunc(r.Refused, reached) {
			r.Names = note(r.Names, name)
		}
	}
	return r
}
