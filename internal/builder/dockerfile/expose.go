package dockerfile

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
)

// expose is the one instruction whose variables may hold several words.
func (in *instruction) expose(c *instructions.ExposeCommand) error {
	var words []string
	for _, p := range c.Ports {
		r, err := expander{lex: in.stage.plan.file.lex(), env: in.scope.env}.split(p)
		if err != nil {
			return err
		}
		words = append(words, r.words...)
	}
	var all []string
	for _, word := range words {
		ports, err := in.readPorts(word)
		if err != nil {
			return fmt.Errorf("EXPOSE %s: %w", word, err)
		}
		if in.ports += len(ports); in.ports > maxPorts {
			return fmt.Errorf("EXPOSE %s: the stage exposes more than %d ports", word, maxPorts)
		}
		all = append(all, ports...)
	}
	in.addPorts(all)
	if in.dialect.Steps.ShellRows {
		in.row("EXPOSE " + strings.Join(words, " "))
	} else {
		in.row(fmt.Sprintf("EXPOSE %v", all))
	}
	return nil
}

// addPorts leaves the map as it is, which earlier steps share, if it has them all.
func (w *Walk) addPorts(ports []string) {
	known := func(p string) bool { _, ok := w.config.ExposedPorts[p]; return ok }
	if w.config.ExposedPorts != nil && !slices.ContainsFunc(ports, func(p string) bool { return !known(p) }) {
		return
	}
	exposed := maps.Clone(w.config.ExposedPorts)
	if exposed == nil {
		exposed = make(map[string]struct{}, len(ports))
	}
	for _, p := range ports {
		exposed[p] = struct{}{}
	}
	w.config.ExposedPorts = exposed
}

// maxPorts bounds what the EXPOSEs of a stage can name together: every port of the three protocols.
const maxPorts = 3 << 16

// readPorts reads [[ip:]hostport:]port[-port][/protocol]. Address and host port mean nothing in an image, but Docker
// accepts them.
func (in *instruction) readPorts(word string) ([]string, error) {
	mapped, port := "", word
	if i := strings.LastIndex(word, ":"); i >= 0 {
		mapped, port = word[:i], word[i+1:]
	}
	port, protocol, _ := strings.Cut(port, "/")
	switch strings.ToLower(protocol) {
	case "":
		protocol = "tcp"
	case "tcp", "udp", "sctp":
	default:
		return nil, fmt.Errorf("the protocol %q is none of tcp, udp and sctp", protocol)
	}
	first, last, err := portRange(port)
	if err != nil {
		return nil, err
	}
	if mapped != "" || strings.Contains(word, ":") {
		if err := checkMapped(mapped, first == last, last-first); err != nil {
			return nil, err
		}
		in.rules.Run(&linter.RuleExposeInvalidFormat, in.c.Location(), linter.RuleExposeInvalidFormat.Format(word))
	}
	if protocol != strings.ToLower(protocol) {
		in.rules.Run(&linter.RuleExposeProtoCasing, in.c.Location(), linter.RuleExposeProtoCasing.Format(word))
	}
	ports := make([]string, 0, last-first+1)
	for p := first; p <= last; p++ {
		ports = append(ports, strconv.Itoa(p)+"/"+strings.ToLower(protocol))
	}
	return ports, nil
}

func checkMapped(mapped string, single bool, span int) error {
	address, host := "", mapped
	if i := strings.LastIndex(mapped, ":"); i >= 0 {
		address, host = mapped[:i], mapped[i+1:]
	}
	if host != "" {
		first, last, err := portRange(host)
		if err != nil {
			return fmt.Errorf("host port: %w", err)
		}
		if !single && last-first != span {
			return fmt.Errorf("the ranges of host ports and container ports have different sizes")
		}
	}
	address = strings.TrimSuffix(strings.TrimPrefix(address, "["), "]")
	if address != "" && net.ParseIP(address) == nil {
		return fmt.Errorf("%q is not an IP address", address)
	}
	return nil
}

// portRange reads "80" or "80-90".
func portRange(s string) (first, last int, err error) {
	from, to, isRange := strings.Cut(s, "-")
	if !isRange {
		to = from
	}
	a, err := strconv.ParseUint(from, 10, 16)
	b, err2 := strconv.ParseUint(to, 10, 16)
	if err != nil || err2 != nil || b < a {
		return 0, 0, fmt.Errorf("%q is neither a port (0 to 65535) nor a range of ports such as 8000-8010", s)
	}
	return int(a), int(b), nil
}
