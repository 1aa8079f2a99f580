package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// firstHeap is in percent of the least heap, 4 MiB, how large the heap grows before garbage is collected for the
// first time. Most commands end before that. An unchanged build had its garbage collected two to six times, 6 to 10 %
// of its processor time.
const firstHeap = 800

// A heap of which more than muchLive bytes are in use grows by largeHeap percent before its garbage is collected again,
// and one of which hugeLive are, by hugeHeap percent. Most of what is large is tables without pointers, which cost the
// collector little: an edit among 200,000 files takes 16 % less memory for 8 % more of the processor's time than with
// the usual 100 %, and loading a million files in one layer 10 % less than with 50 %, in the same time.
const (
	muchLive  = 30 << 20
	largeHeap = 50
	hugeLive  = 64 << 20
	hugeHeap  = 25
)

// collectLate has garbage collected for the first time when the heap has 32 MiB, and as usual from then on unless
// much is in use; GOGC in the environment counts instead.
func collectLate() {
	if os.Getenv("GOGC") != "" {
		return
	}
	debug.SetGCPercent(firstHeap)
	atCollection()
}

// atCollection sets how far the heap grows when garbage has been collected, the next time and each time after it.
func atCollection() {
	// What nobody needs is found by the next collection.
	runtime.AddCleanup(new([16]byte), func(int) {
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(live)
		percent := 100
		switch bytes := live[0].Value.Uint64(); {
		case bytes > hugeLive:
			percent = hugeHeap
		case bytes > muchLive:
			percent = largeHeap
		}
		debug.SetGCPercent(percent)
		atCollection()
	}, 0)
}
