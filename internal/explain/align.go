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
	common := commonLengths(old, now)
	i, j := 0, 0       // in now and old
	gapI, gapJ := 0, 0 // where the gap began
	for i < len(now) && j < len(old) {
		switch {
		case now[i] == old[j]:
			pairGap(pairs, old, now, gapJ, j, gapI, i)
			pairs[i] = j
			i, j = i+1, j+1
			gapI, gapJ = i, j
		case common[i+1][j] >= common[i][j+1]:
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

// similar says whether one instruction looks like a changed version of the other: of one kind, with at least a third of
// their words in common, or with one word each.
func similar(a, b string) bool {
	wordsA, wordsB := strings.Fields(a), strings.Fields(b)
	if len(wordsA) == 0 || len(wordsB) == 0 || !strings.EqualFold(wordsA[0], wordsB[0]) {
		return false
	}
	if len(wordsA) <= 2 && len(wordsB) <= 2 {
		return true
	}
	count := map[string]int{}
	for _, w := range wordsA[1:] {
		count[w]++
	}
	common := 0
	for _, w := range wordsB[1:] {
		if count[w] > 0 {
			count[w]--
			common++
		}
	}
	return 3*common >= max(len(wordsA), len(wordsB))-1
}

// likeness is how much two builds have in common, from 0 to 1: the share of the instructions that both have.
func likeness(a, b []string) float64 {
	if len(a) == 0 || len(b) == 0 {
		return 0
	}
	count := map[string]int{}
	for _, t := range a {
		count[t]++
	}
	common := 0
	for _, t := range b {
		if count[t] > 0 {
			count[t]--
			common++
		}
	}
	return float64(common) / float64(max(len(a), len(b)))
}
