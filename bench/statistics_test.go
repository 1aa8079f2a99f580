package main

import (
	"math"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{3}, 3},
		{[]float64{9, 1, 2}, 2},
		{[]float64{4, 1, 2, 9}, 3},
		{nil, 0},
	} {
		if got := median(test.values); got != test.want {
			t.Errorf("median(%v) = %v, want %v", test.values, got, test.want)
		}
	}
}

func TestSignTest(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{2, 2, 2, 2, 2}, 1.0 / 32},
		{[]float64{2, 2, 2, 2, 0.5}, 6.0 / 32},
		{[]float64{0.5, 0.5}, 1},
		{[]float64{2, 2, 2, 2, 2, 1}, 1.0 / 32}, // 1 is neither above nor below
		{[]float64{2, 2, 2, 2, 2, 2, 2, 0.5}, 9.0 / 256},
		{nil, 1},
	} {
		if got := signTest(test.values, 1); math.Abs(got-test.want) > 1e-12 {
			t.Errorf("signTest(%v) = %v, want %v", test.values, got, test.want)
		}
	}
}

func times(milliseconds ...int) []measurement {
	var all []measurement
	for _, ms := range milliseconds {
		all = append(all, measurement{elapsed: time.Duration(ms) * time.Millisecond})
	}
	return all
}

func TestJudge(t *testing.T) {
	for _, test := range []struct {
		about       string
		now, before []measurement
		want        verdict
	}{
		{"the same", times(100, 110, 90, 105, 95), times(95, 105, 110, 90, 100), unchanged},
		{"all five slower by a fifth", times(120, 126, 118, 240, 121), times(100, 105, 98, 200, 100), muchSlower},
		{"all five slower by 6 %", times(106, 108, 107, 212, 106), times(100, 102, 100, 200, 100), slower},
		{"all five faster by a fifth", times(80, 84, 79, 160, 80), times(100, 105, 98, 200, 100), faster},
		{"one of five disagrees", times(120, 126, 118, 120, 95), times(100, 105, 98, 100, 100), unchanged},
		{"seven of eight slower, but the fastest is of now", times(90, 300, 300, 300, 300, 300, 300, 300), times(100, 200, 200, 200, 200, 200, 200, 200), unchanged},
		{"seven of eight slower", times(110, 300, 300, 300, 300, 300, 300, 180), times(100, 200, 200, 200, 200, 200, 200, 200), slower},
		{"four rounds say nothing", times(200, 200, 200, 200), times(100, 100, 100, 100), unchanged},
		{"slower by less than anybody minds", times(101, 101, 101, 101, 101), times(100, 100, 100, 100, 100), unchanged},
		{"not measured before", times(100), nil, unchanged},
	} {
		if got := judge(test.now, test.before); got != test.want {
			t.Errorf("%s: %q, want %q", test.about, got, test.want)
		}
	}
}
