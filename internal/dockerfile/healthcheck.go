package dockerfile

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"golang.org/x/sys/unix"
)

func (in *instruction) healthcheck(c *instructions.HealthCheckCommand) {
	in.once()
	h := *c.Health
	in.config.Healthcheck = &h
	if in.classic {
		// %q of a pointer to Docker 20.10's container.HealthConfig: durations as strings, the number of retries as a rune.
		in.row(fmt.Sprintf("HEALTHCHECK &{%q %q %q %q %q}", h.Test, h.Interval.String(), h.Timeout.String(), h.StartPeriod.String(), rune(h.Retries)))
	} else {
		in.row(fmt.Sprintf("HEALTHCHECK %+v", h))
	}
}

// isSignal knows what Docker's signal package knows: numbers, and names with or without SIG, RTMIN+3 among them.
func isSignal(s string) bool {
	if n, err := strconv.Atoi(s); err == nil {
		return n != 0
	}
	name := strings.TrimPrefix(strings.ToUpper(s), "SIG")
	if rt, ok := strings.CutPrefix(name, "RTMIN"); ok {
		return realtime(rt, "+", 15)
	}
	if rt, ok := strings.CutPrefix(name, "RTMAX"); ok {
		return realtime(rt, "-", 14)
	}
	return unix.SignalNum("SIG"+name) != 0
}

func realtime(s, sign string, most int) bool {
	if s == "" {
		return true
	}
	n, err := strconv.Atoi(strings.TrimPrefix(s, sign))
	return strings.HasPrefix(s, sign) && err == nil && n >= 1 && n <= most
}
