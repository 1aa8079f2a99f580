// Package suggest finds what a person probably meant by a word that is not known: "did you mean build?".
package suggest

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/agext/levenshtein"
)

// Near is the one of options that word is probably a misspelling of, "" if none is like it. A word of three to five
// letters may differ in one letter, a longer one in two, and shorter ones not at all but for a change of place;
// letters that changed places count as one difference, upper and lower case as none. So "buidl" is near "build",
// and "ps" is not near "du". Of options that are equally near the first counts.
func Near(word string, options []string) string {
	if near := All(word, options); len(near) > 0 {
		return near[0]
	}
	return ""
}

// All are those of options that word may be a misspelling of, the nearest first; none if word itself is among them,
// since something else is wrong with it then.
func All(word string, options []string) []string {
	most := allowed(word)
	found := make([][]string, most+1) // by distance
	for _, o := range options {
		if o == word {
			return nil
		}
		if d := distance(strings.ToLower(word), strings.ToLower(o)); d <= most && o != "" {
			found[d] = append(found[d], o)
		}
	}
	return slices.Concat(found...)
}

// DidYouMean is Near as the end of a message, with a blank in front: " (did you mean build?)", or "".
func DidYouMean(word string, options []string) string {
	return Question("", Near(word, options))
}

// Question is DidYouMean for a word that was found already, with what is written in front of it, such as "--".
func Question(prefix, near string) string {
	if near == "" {
		return ""
	}
	return " (did you mean " + prefix + near + "?)"
}

func allowed(word string) int {
	switch n := utf8.RuneCountInString(word); {
	case n < 2:
		return 0
	case n < 6:
		return 1
	}
	return 2
}

// distance is Levenshtein's, where two neighbours that changed places count as one difference. In a word of two letters
// nothing else may differ.
func distance(word, other string) int {
	least := levenshtein.Distance(word, other, nil)
	letters := []rune(word)
	if len(letters) < 3 && least > 0 {
		least = 3
	}
	for i := 1; i < len(letters); i++ {
		letters[i-1], letters[i] = letters[i], letters[i-1]
		least = min(least, 1+levenshtein.Distance(string(letters), other, nil))
		letters[i-1], letters[i] = letters[i], letters[i-1]
	}
	return least
}
