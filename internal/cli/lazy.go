package cli

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/spf13/pflag"

	"github.com/strata-build/strata/internal/transfer"
)

// lazyVariable says what --lazy is where it is not given.
const lazyVariable = "STRATA_LAZY"

// lazyFlag is --lazy: whether layers of base images are fetched in parts.
type lazyFlag struct {
	parts transfer.Parts
	wrong string // what the variable says, if that means nothing and counts
}

// withReferrers is the value that has SOCI indexes count that somebody attached to an image.
const withReferrers = "referrers"

// registerLazy adds --lazy to the flags of a command.
func registerLazy(fl *pflag.FlagSet, f *lazyFlag, whoReads string) {
	*f = lazyByDefault()
	fl.Var(f, "lazy", "fetch of base images only what "+whoReads+", where their layers are eStargz or zstd:chunked or have a SOCI index; "+
		"with --lazy="+withReferrers+" also by SOCI indexes that others have attached to them (default "+lazyVariable+", or false)")
	fl.Lookup("lazy").NoOptDefVal = "true"
}

// lazyByDefault is what the variable says; what it cannot mean is no.
func lazyByDefault() lazyFlag {
	var f lazyFlag
	text := os.Getenv(lazyVariable)
	if f.Set(text) != nil {
		return lazyFlag{wrong: text}
	}
	return f
}

// warnings say that the variable means nothing.
func (f *lazyFlag) warnings() []string {
	if f.wrong == "" {
		return nil
	}
	return []string{fmt.Sprintf("%s=%s is left out: it is true, false or %s", lazyVariable, f.wrong, withReferrers)}
}

// check refuses a value that is not with its flag: without "=" it is the first argument.
func (f *lazyFlag) check(fl *pflag.FlagSet, argument string) error {
	if argument == withReferrers && f.parts == transfer.PartsByImage && fl.Changed("lazy") {
		return usageError("--lazy %s: write --lazy=%s", withReferrers, withReferrers)
	}
	return nil
}

// Set implements pflag.Value.
func (f *lazyFlag) Set(value string) error {
	f.wrong = ""
	if value == withReferrers {
		f.parts = transfer.PartsByReferrers
		return nil
	}
	on, err := strconv.ParseBool(value)
	if err != nil {
		return errors.New("it is true, false or " + withReferrers)
	}
	if f.parts = transfer.NoParts; on {
		f.parts = transfer.PartsByImage
	}
	return nil
}

// String implements pflag.Value.
func (f *lazyFlag) String() string {
	if f.parts == transfer.PartsByReferrers {
		return withReferrers
	}
	return strconv.FormatBool(f.parts != transfer.NoParts)
}

// Type implements pflag.Value.
func (f *lazyFlag) Type() string { return "bool" }
