package dockerfile

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/image"
)

func (in *instruction) healthcheck(c *instructions.HealthCheckCommand) {
	in.once()
	h := *c.Health
	before := in.config.Healthcheck
	in.config.Healthcheck = &h
	if in.dialect.Steps.ShellRows {
		// %q of a pointer to Docker 20.10's container.HealthConfig: durations as strings, the
		// number of retries as a rune.
		in.row(fmt.Sprintf("HEALTHCHECK &{%q %q %q %q %q}", h.Test, h.Interval.String(), h.Timeout.String(), h.StartPeriod.String(), rune(h.Retries)))
	} else {
		in.row(fmt.Sprintf("HEALTHCHECK %+v", h))
	}
	if in.dialect.Config.InheritsHealthcheck && before != nil {
		inheritHealth(&h, *before)
	}
}

// inheritHealth fills in what a HEALTHCHECK leaves open from the one before it. The classic builder does so whenever it
// runs the step: making the step's container merges the parent's config into the new one (merge in Docker's
// daemon/commit.go), and the healthcheck is shared with it. BuildKit does not.
func inheritHealth(h *image.Healthcheck, before image.Healthcheck) {
	if len(h.Test) == 0 {
		h.Test = before.Test
	}
	if h.Interval == 0 {
		h.Interval = before.Interval
	}
	if h.Timeout == 0 {
		h.Timeout = before.Timeout
	}
	if h.StartPeriod == 0 {
		h.StartPeriod = before.StartPeriod
	}
	if h.Retries == 0 {
		h.Retries = before.Retries
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
	switch name {
	case "CLD", "IOT", "POLL": // other names of CHLD, ABRT and IO, which x/sys lacks
		return true
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
