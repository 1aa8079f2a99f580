package fleet

import (
	"cmp"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
)

// rate is how many bytes a second are taken to move between machines, and trip what a step costs on another machine beside
// that (docs/fleet.md has measurements).
const (
	rate = 100 << 20
	trip = 20 * time.Millisecond
)

// choice is where a step is to run.
type choice struct {
	worker string // "" is whoever is free
	key    string // of the worker, by which it was chosen
	here   bool   // on the build's own machine
	reason string // of here, for people; "" where that is as it should be
}

// candidate is a worker that can run a step, and how many bytes of its layers it lacks.
type candidate struct {
	Presence
	lacks int64
}

// choose says where a step runs. send is how many bytes the build's machine has to send first, took what the step took
// when it ran last, 0 where that is not known.
//
// A step that takes less than moving what it needs stays at home. Else it goes to the free worker that lacks least; where that
// is all the same, and where none is free, to whoever is free first.
func choose(all []candidate, send int64, took time.Duration) choice {
	if len(all) == 0 {
		return choice{here: true}
	}
	least := slices.MinFunc(all, func(a, b candidate) int { return cmp.Compare(a.lacks, b.lacks) })
	if moving := trip + seconds(send+least.lacks); took > 0 && took < moving {
		return choice{here: true}
	}
	var free []candidate
	for _, c := range all {
		if c.Free > 0 {
			free = append(free, c)
		}
	}
	if len(free) == 0 {
		return choice{}
	}
	// The most slots first, so that steps that begin together spread.
	slices.SortStableFunc(free, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.lacks, b.lacks), cmp.Compare(b.Free, a.Free), cmp.Compare(a.Name, b.Name))
	})
	return choice{worker: free[0].Name, key: free[0].Key}
}

func seconds(bytes int64) time.Duration {
	return time.Duration(float64(bytes) / rate * float64(time.Second))
}

// lacking is how many bytes of layers a worker does not have; sizes of 0 are not known, and count as a little.
func lacking(p Presence, layers map[digest.Digest]int64) int64 {
	var n int64
	for d, size := range layers {
		if !slices.Contains(p.Has, shortLayer(d)) {
			n += max(size, 1)
		}
	}
	return n
}
