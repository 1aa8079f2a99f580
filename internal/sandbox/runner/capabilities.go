package runner

import (
	"fmt"
	"slices"
	"strings"

	"github.com/moby/sys/capability"
)

// AllCapabilities stands for every capability, where they are added or dropped.
const AllCapabilities = "ALL"

// ParseCapability reads a --cap-add or --cap-drop of docker run: the name in any case, with CAP_ in front or not, or
// ALL.
func ParseCapability(text string) (string, error) {
	name := strings.ToUpper(text)
	if name == AllCapabilities {
		return name, nil
	}
	name = "CAP_" + strings.TrimPrefix(name, "CAP_")
	for _, c := range capability.ListKnown() {
		if name == capabilityName(c) {
			return name, nil
		}
	}
	return "", fmt.Errorf("%s: there is no such capability; capabilities(7) lists them, NET_ADMIN for instance", text)
}

func capabilityName(c capability.Cap) string { return "CAP_" + strings.ToUpper(c.String()) }

// capabilities are the usual ones, without those that are dropped and with those that are added (moby, oci/caps:
// TweakCapabilities): what is both dropped and added is added, unless all are added, of which what is dropped is
// missing. On the machine's network CAP_NET_RAW is no usual one: it reads all that comes and goes there.
func (r *Rights) capabilities(n Network) ([]string, error) {
	all := slices.Contains(r.AddCapabilities, AllCapabilities)
	names := capabilities()
	if n == NetworkHost {
		names = slices.DeleteFunc(names, func(name string) bool { return name == "CAP_NET_RAW" })
	}
	switch {
	case all:
		own, err := ownCapabilities()
		if err != nil {
			return nil, err
		}
		names = own
	case slices.Contains(r.DropCapabilities, AllCapabilities):
		names = nil
	}
	names = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(r.DropCapabilities, name) })
	for _, name := range r.AddCapabilities {
		if !all && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, nil
}
