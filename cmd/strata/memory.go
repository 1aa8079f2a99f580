package main

import (
	"os"
	"runtime"
	"runtime/debug"
)

// firstHeap is in percent of the least heap, 4 MiB, how large the heap grows before garbage is collected for the
// first time. Most commands end before that. An unchanged build had its garbage collected two to six times, 6 to 10 %
// of its processor time.
const firstHeap = 800

// collectLate has garbage collected for the first time when the heap has 32 MiB, and as usual from then on; GOGC in the
// environment counts instead.
func collectLate() {
	if os.Getenv("GOGC") != "" {
		return
	}
	debug.SetGCPercent(firstHeap)
	// What nobody needs is found by the first collection.
	runtime.AddCleanup(new([16]byte), func(int) { debug.SetGCPercent(100) }, 0)
}
