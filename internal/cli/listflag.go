package cli

import "strings"

// listFlag is the value of a flag that may be given several times. pflag's own list writes itself as CSV when it is
// registered, by a writer with a buffer of 4 kB: for the 200 lists of all commands that was a fifth of the
// processor time of `strata --version`, and a run of the garbage collector.
type listFlag []string

// String implements pflag.Value. An empty list is "", which help takes for no default.
func (l *listFlag) String() string { return strings.Join(*l, ",") }

// Set implements pflag.Value: it adds a value.
func (l *listFlag) Set(value string) error {
	*l = append(*l, value)
	return nil
}

// Type implements pflag.Value: pflag's name of a list, by which cobra knows that the flag may come again.
func (l *listFlag) Type() string { return "stringArray" }
