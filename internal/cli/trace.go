package cli

import (
	"context"
	"fmt"
	"os"

	"github.com/strata-build/strata/internal/event/trace"
)

// beginTrace begins the span of a command that builds, where the environment asks for traces; else it is nil. The caller
// ends it. What the environment asks for and cannot be had is a warning: no build fails for its traces.
func (a *app) beginTrace(command string) *trace.Span {
	config := a.openTrace()
	if a.tracer == nil {
		return nil
	}
	return a.tracer.Begin(config.Parent, "strata "+command)
}

// openTrace opens what sends traces, if the environment asks for that.
func (a *app) openTrace() *trace.Config {
	config, err := trace.FromEnvironment(os.LookupEnv)
	if err == nil {
		a.tracer, err = trace.New(config, trace.Program{Name: "strata", Version: a.version})
	}
	if err != nil {
		a.warnOfTraces(fmt.Errorf("no traces are sent: %w", err))
	}
	return config
}

// endTrace waits a short while for what has not been sent yet, after all else that the command has to say.
func (a *app) endTrace(ctx context.Context) {
	if err := a.tracer.Close(ctx); err != nil {
		a.warnOfTraces(err)
	}
}

func (a *app) warnOfTraces(err error) {
	fmt.Fprintln(a.stderr, "WARNING:", printable(err.Error()))
}
