// Package style is the set of colours and other attributes that strata gives text on a terminal. What they say is said
// by a sign or a word, too, so nothing is lost without them.
package style

import "os"

// Style is how a terminal shows a text, as SGR parameters (ECMA-48, 8.3.117).
type Style string

// The styles. Their use is that of git: an ID is yellow, what was added green, what was removed red.
const (
	Bold    Style = "1"
	Faint   Style = "2"
	Reverse Style = "7"
	Red     Style = "31"
	Green   Style = "32"
	Yellow  Style = "33"
	Blue    Style = "34"
	Cyan    Style = "36"
	// BrightRed is Docker's colour of what a step writes to its standard error.
	BrightRed Style = "91"
)

// None is no style: the text stays as it is.
const None Style = ""

// Reset is what ends a style.
const Reset = "\x1b[0m"

// With is both styles at once.
func (s Style) With(other Style) Style { return s + ";" + other }

// Start is what begins a style on a terminal, Reset what ends it.
func (s Style) Start() string { return "\x1b[" + string(s) + "m" }

// Paint gives a text the style. The text must hold no control characters of its own.
func (s Style) Paint(text string) string {
	if s == None || text == "" {
		return text
	}
	return s.Start() + text + Reset
}

// HasColor says whether the style is more than an attribute that every terminal has: bold and reverse are none.
func (s Style) HasColor() bool { return s != Bold && s != Reverse && s != None }

// Wanted says whether the person wants colours on a terminal: NO_COLOR (no-color.org) and a dumb terminal say no.
func Wanted() bool { return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" }
