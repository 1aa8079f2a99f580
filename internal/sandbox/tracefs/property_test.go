package tracefs_test

import (
	"flag"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-build/strata/internal/layer/observed"
	"github.com/strata-build/strata/internal/sandbox/tracefs"
	"github.com/strata-build/strata/test/testbed"
)

var (
	steps = flag.Int("steps", 100, "how many scripts and edits the property test compares")
	seed  = flag.Uint64("seed", 0, "what they follow from; 0 takes one by the time")
)

func TestMain(m *testing.M) {
	tracefs.Init()
	os.Exit(testbed.Main(m))
}

func needFUSE(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	if err := tracefs.Available(); err != nil {
		t.Skip(err)
	}
}

// A script that is a hit gives what it gives when it runs: random scripts are observed on random layers, which are
// edited at random; wherever the edited layers would have answered alike, the script is run on them without being
// observed.
func TestObservedEqualsUncached(t *testing.T) {
	needFUSE(t)
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	t.Logf("to repeat: -steps %d -seed %d", *steps, *seed)
	w := newWorld(t, *seed)
	hits, misses := 0, 0
	for hits+misses < *steps {
		hit, miss, wrong := w.compare()
		if wrong != "" {
			t.Fatal(wrong)
		}
		hits, misses = hits+hit, misses+miss
	}
	t.Logf("%d hits, all right; %d misses", hits, misses)
	if *steps >= 100 && (hits < *steps/20 || misses < *steps/20) {
		t.Error("too few of one kind to tell anything")
	}
}

const wrongHit = "a wrong hit of\n"

// compare observes one script, and compares it on several edits of its layers. wrong is a wrong hit, or how the script
// does something else where it is observed.
func (w *world) compare() (hits, misses int, wrong string) {
	s, script := w.stack(), w.script()
	w.said = nil
	id, made, in := w.run(s, script, true)
	// What is observed does what it does without.
	if again, plain, _ := w.run(s, script, false); again != id {
		return 0, 0, "observed (-) and not (+):\n" + strings.Join(script, "\n") + "\n" + cmp.Diff(show(made), show(plain)) + strings.Join(w.said, "---\n")
	}
	// What is folded counts for more.
	if w.IntN(4) == 0 {
		in.Fold(views(w, s), len(in.Encode())*(1+w.IntN(4))/5)
	}
	in, err := observed.Decode(in.Encode())
	check(w.t, err)
	for range 4 {
		edited := s.edited(w)
		change, err := in.Compare(edited.served(w))
		check(w.t, err)
		if change != nil {
			misses++
			continue
		}
		hits++
		now, ran, _ := w.run(edited, script, false)
		if now != id {
			return hits, misses, wrongHit + strings.Join(script, "\n") + "\nrecorded (-) and now (+):\n" + cmp.Diff(show(made), show(ran)) +
				"\nlow:\n" + cmp.Diff(show(s.low.toc(w.t)), show(edited.low.toc(w.t))) + "\nhigh:\n" + cmp.Diff(show(s.high.toc(w.t)), show(edited.high.toc(w.t)))
		}
	}
	return hits, misses, ""
}

func views(w *world, s *stack) []*observed.View {
	return []*observed.View{observed.NewView(s.low.toc(w.t)), observed.NewView(s.high.toc(w.t))}
}

// Each aspect of an answer is needed: without it, there is a wrong hit.
func TestEachAspectIsNeeded(t *testing.T) {
	needFUSE(t)
	if *steps < 2000 {
		t.Skip("needs some thousand scripts: make observe")
	}
	for name, aspect := range map[string]observed.Aspect{
		"content": observed.Content, "kind": observed.Kind, "mode": observed.Mode, "owner": observed.Owner,
		"opaque": observed.Opaque, "absence": observed.Absence, "listing": observed.Listing, "types": observed.Types,
		"target": observed.Target, "xattrs": observed.Xattrs, "names": observed.Names, "within": observed.Within,
	} {
		t.Run(name, func(t *testing.T) {
			defer observed.Without(aspect)()
			w := newWorld(t, rand.Uint64())
			for i := range 3000 {
				if _, _, wrong := w.compare(); strings.HasPrefix(wrong, wrongHit) {
					t.Logf("after %d scripts", i+1)
					return
				} else if wrong != "" {
					t.Fatal(wrong)
				}
			}
			t.Error("no wrong hit is found without it")
		})
	}
}
