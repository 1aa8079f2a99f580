package observed

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
)

// Recorder notes what is asked of one View. It can be used by several goroutines.
type Recorder struct {
	view  *View
	asked []atomic.Uint32 // Questions by node

	mu     sync.Mutex
	absent map[absence]struct{}
	many   bool
}

// absence is a name that is not in a directory.
type absence struct {
	dir  int
	name string
}

// maxAbsent is how many names that are not there are kept. A step that looks for more has asked for the whole layer.
const maxAbsent = 1 << 17

// NewRecorder returns the recorder of a view.
func NewRecorder(v *View) *Recorder {
	return &Recorder{view: v, asked: make([]atomic.Uint32, v.Len()), absent: map[absence]struct{}{}}
}

// View is what is asked.
func (r *Recorder) View() *View { return r.view }

// Ask notes that something was asked of a node.
func (r *Recorder) Ask(n int, q Questions) {
	q |= LookedUp
	if old := r.asked[n].Load(); old&uint32(q) != uint32(q) {
		r.asked[n].Or(uint32(q))
	}
}

// Miss notes that a name was looked up in a directory that does not have it.
func (r *Recorder) Miss(dir int, name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.absent) == maxAbsent {
		r.many = true
		return
	}
	r.absent[absence{dir, strings.Clone(name)}] = struct{}{}
}

// Tree is what was asked. of and mount are as in Tree.
func (r *Recorder) Tree(of digest.Digest, mount string) Tree {
	v := r.view
	t := Tree{Of: of, Mount: mount, Files: v.Files()}
	for n := range r.asked {
		asked := Questions(r.asked[n].Load())
		if asked == 0 {
			continue
		}
		if asked&Read != 0 && v.Entry(n).Type == layer.File && v.Inode(n) == n {
			t.Read++
		}
		t.Inputs = append(t.Inputs, Input{v.Path(n), asked, v.sum(n, asked)})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.many {
		t.Inputs = []Input{r.whole(0)}
		return t
	}
	for a := range r.absent {
		// That a name is not in a directory whose names are known needs no saying.
		if Questions(r.asked[a.dir].Load())&Listed == 0 {
			t.Inputs = append(t.Inputs, Input{Path: join(v.Path(a.dir), a.name), Asked: Absent})
		}
	}
	slices.SortFunc(t.Inputs, func(a, b Input) int { return layer.Compare(a.Path, b.Path) })
	return t
}

func (r *Recorder) whole(n int) Input { return wholeOf(r.view, n) }

func wholeOf(v *View, n int) Input {
	return Input{v.Path(n), LookedUp | Whole, v.sum(n, Whole)}
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}
