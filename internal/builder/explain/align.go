package explain

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// maxText is how much of an instruction a build remembers, in bytes.
const maxText = 300

// clipText shortens a long instruction. A digest of what was cut keeps different instructions different.
func clipText(text string) string {
	if len(text) <= maxText {
		return text
	}
	sum := sha256.Sum256([]byte(text))
	return strings.ToValidUTF8(text[:maxText], "") + "… (" + hex.EncodeToString(sum[:4]) + ")"
}

// maxAlign is how many instructions of a stage are aligned. Nobody has more, and the work grows with the square.
const maxAlign = 500

// align finds for each instruction of a stage the one of an earlier build that it was: -1 where there was none. Those
// that say the same are matched by a longest common subsequence; what lies between two matches is paired in its
// order where both are of one kind and have words in common.
func align(old, now []string) []int {
	pairs := make([]int, len(now))
	for i := range pairs {
		pairs[i] = -1
	}
	if len(old) > maxAlign || len(now) > maxAlign {
		return pairs
	}
	longest := commonLengths(old, now)
	i, j := 0, 0       // in now and old
	gapI, gapJ := 0, 0 // where the gap began
	for i < len(now) && j < len(old) {
		switch {
		case now[i] == old[j]:
			pairGap(pairs, old, now, gapJ, j, gapI, i)
			pairs[i] = j
			i, j = i+1, j+1
			gapI, gapJ = i, j
		case longest[i+1][j] >= longest[i][j+1]:
			i++
		default:
			j++
		}
	}
	pairGap(pairs, old, now, gapJ, len(old), gapI, len(now))
	return pairs
}

// commonLengths gives for each i and j the length of the longest common subsequence of now[i:] and old[j:].
func commonLengths(old, now []string) [][]int {
	n := make([][]int, len(now)+1)
	n[len(now)] = make([]int, len(old)+1)
	for i := len(now) - 1; i >= 0; i-- {
		n[i] = make([]int, len(old)+1)
		for j := len(old) - 1; j >= 0; j-- {
			if now[i] == old[j] {
				n[i][j] = n[i+1][j+1] + 1
			} else {
				n[i][j] = max(n[i+1][j], n[i][j+1])
			}
		}
	}
	return n
}

// pairGap pairs changed instructions between two matches.
func pairGap(pairs []int, old, now []string, fromOld, toOld, fromNow, toNow int) {
	if toOld-fromOld == 1 && toNow-fromNow == 1 && kindOf(old[fromOld]) == kindOf(now[fromNow]) {
		pairs[fromNow] = fromOld // one took the other's place
		return
	}
	for i := fromNow; i < toNow; i++ {
		for j := fromOld; j < toOld; j++ {
			if similar(old[j], now[i]) {
				pairs[i] = j
				fromOld = j + 1
				break
			}
		}
	}
}

// kindOf is the first word of an instruction.
func kindOf(text string) string {
	kind, _, _ := strings.Cut(text, " ")
	return strings.ToUpper(kind)
}

// similar says whether one instruction looks like a changed version of the other: of one kind, with at least a third of
// their words in common, or with one word each.
func similar(a, b string) bool {
	if kindOf(a) != kindOf(b) {
		return false
	}
	wordsA, wordsB := words(a), words(b)
	most := max(len(wordsA), len(wordsB))
	return most <= 1 || 3*common(wordsA, wordsB) >= most
}

// words are those after the first, without what punctuates a shell's command.
func words(text string) []string {
	_, rest, _ := strings.Cut(text, " ")
	return strings.FieldsFunc(rest, func(r rune) bool { return strings.ContainsRune(" \t\n;&|<>()\"'=,[]{}", r) })
}

// common is how many words two lists have in common, each as often as both have it.
func common(a, b []string) int {
	count := map[string]int{}
	for _, w := range a {
		count[w]++
	}
	n := 0
	for _, w := range b {
		if count[w] > 0 {
			count[w]--
			n++
		}
	}
	return n
}

// likeness is how much two builds have in common, from 0 to 1: the share of the instructions that both have.
func likeness(a, b []string) float64 {
	if len(a) == 0 || len(b) == 0 {
		return 0
	}
	return float64(common(a, b)) / float64(max(len(a), len(b)))
}
