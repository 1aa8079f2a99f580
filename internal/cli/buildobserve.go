package cli

import (
	"os"
	"strings"

	"github.com/strata-build/strata/internal/builder"
)

// observeVariable says what --observe is where it is not given.
const observeVariable = "STRATA_OBSERVE"

// observing reads --observe, as often as it is given, or the environment: auto, off, verify, or off:STEP for some
// steps.
func observing(flags []string) (builder.Observing, error) {
	name := "--observe"
	if env := os.Getenv(observeVariable); len(flags) == 0 && env != "" {
		name, flags = observeVariable, strings.Split(env, ",")
	}
	o := builder.Observing{On: true}
	for _, value := range flags {
		step, isStep := strings.CutPrefix(value, "off:")
		switch {
		case isStep && step != "":
			o.Except = append(o.Except, step)
		case value == "auto":
			o.On, o.Verify = true, false
		case value == "off":
			o.On, o.Verify = false, false
		case value == "verify":
			o.On, o.Verify = true, true
		default:
			return o, usageError("%s %s: it is auto, off, verify or off:STEP", name, value)
		}
	}
	return o, nil
}
