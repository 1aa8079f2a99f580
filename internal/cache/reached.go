package cache

import (
	"fmt"
	"slices"
	"strings"
)

// How it is known that a step fetches.
const (
	Inferred = "inferred" // to judge by the programs that its instruction calls
	Seen     = "observed" // by its network (Record.Reached)
)

// Reached is what a step on a network of its own asked of it: names and ports, nothing of what was sent.
type Reached struct {
	Hosts []string `json:"hosts,omitempty"` // NAME:PORT that it connected with, in their order
	Names []string `json:"names,omitempty"` // names that it only had resolved
}

// shownHosts is how many hosts a line names.
const shownHosts = 3

// Source says on one line from where the step fetches and how that is known: "from packages.example.org (observed)", or
// "(inferred)". It is for a record that Fetches.
func (r *Record) Source() string {
	how := "(" + r.Fetches + ")"
	if r.Reached == nil || len(r.Reached.Hosts) == 0 {
		return how
	}
	var hosts []string
	for _, h := range r.Reached.Hosts {
		for _, usual := range []string{":80", ":443", ":443/udp"} {
			h = strings.TrimSuffix(h, usual)
		}
		if !slices.Contains(hosts, h) {
			hosts = append(hosts, h)
		}
	}
	more := ""
	if len(hosts) > shownHosts {
		more = fmt.Sprintf(" and %d more", len(hosts)-shownHosts)
		hosts = hosts[:shownHosts]
	}
	return "from " + strings.Join(hosts, ", ") + more + " " + how
}
