package main

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// ratios are those of two builders' times within each round, which a slow minute of the machine does not move.
func ratios(times, of []measurement) []float64 {
	var all []float64
	for i := range min(len(times), len(of)) {
		all = append(all, float64(times[i].elapsed)/float64(of[i].elapsed))
	}
	return all
}

// median is the middle of values, or the mean of the two in the middle; 0 where there are none.
func median[N float64 | time.Duration](values []N) N {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 0 {
		return (sorted[middle-1] + sorted[middle]) / 2
	}
	return sorted[middle]
}

func medianTime(all []measurement) time.Duration {
	var times []time.Duration
	for _, m := range all {
		times = append(times, m.elapsed)
	}
	return median(times)
}

func fastest(all []measurement) time.Duration {
	return slices.MinFunc(all, func(a, b measurement) int { return cmp.Compare(a.elapsed, b.elapsed) }).elapsed
}

// signTest is the probability that chance alone puts as many values above a bound as are above it, where each is
// above or below it with the same probability. Values equal to the bound say nothing and are left out.
func signTest(values []float64, bound float64) float64 {
	above, n := 0, 0
	for _, v := range values {
		if v > bound {
			above++
		}
		if v != bound {
			n++
		}
	}
	// The sum of the binomial coefficients n over k, for k from above to n, by 2^n.
	ways, sum := 1.0, 0.0
	for k := n; k >= above; k-- {
		sum += ways
		ways *= float64(k) / float64(n-k+1)
	}
	return sum / math.Exp2(float64(n))
}

// A verdict says what became of a row between two commits.
type verdict string

const (
	unchanged  verdict = "" // or the difference is within the noise
	faster     verdict = "faster"
	slower     verdict = "slower"
	muchSlower verdict = "slower by more than 10 %"
)

const (
	chance    = 0.05 // the probability of a result by chance alone that is small enough; 5 rounds that agree have 0.031
	slowerBy  = 1.10 // the ratio from which a row counts as slower by too much
	smallest  = 1.03 // the ratio below which a difference is nobody's concern
	minRounds = 5    // with fewer, no result is unlikely enough
)

// judge compares a row's times now with those of the same rounds before. The signs of the differences have to be beyond
// chance, and the fastest runs, which noise disturbs least, have to say the same.
func judge(now, before []measurement) verdict {
	pairs, back := ratios(now, before), ratios(before, now)
	if len(pairs) == 0 {
		return unchanged
	}
	fastestNow, fastestBefore := float64(fastest(now)), float64(fastest(before))
	beyond := func(values []float64, bound, fastest float64) bool {
		return median(values) >= smallest && fastest > bound && signTest(values, bound) <= chance
	}
	switch {
	case beyond(pairs, slowerBy, fastestNow/fastestBefore):
		return muchSlower
	case beyond(pairs, 1, fastestNow/fastestBefore):
		return slower
	case beyond(back, 1, fastestBefore/fastestNow):
		return faster
	}
	return unchanged
}
