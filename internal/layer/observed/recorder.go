package observed

import (
	"encoding/binary"
	"errors"
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

// Ask notes that something was asked of a node, and returns what was before.
func (r *Recorder) Ask(n int, q Questions) (before Questions) {
	q |= LookedUp
	old := r.asked[n].Load()
	if old&uint32(q) != uint32(q) {
		old = r.asked[n].Or(uint32(q))
	}
	return Questions(old)
}

// Asked is what was asked of a node.
func (r *Recorder) Asked(n int) Questions { return Questions(r.asked[n].Load()) }

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

// Encode writes what was asked: how many nodes anything was asked of, of each its distance from the one before and the
// questions; then 1 where too many names were missed to be kept, or 0 and of each name that was, the directory and the
// name. Numbers are varints, and a name has its length before it.
func (r *Recorder) Encode() []byte {
	var nodes []byte
	count, before := uint64(0), 0
	for n := range r.asked {
		if asked := r.asked[n].Load(); asked != 0 {
			nodes = append(binary.AppendUvarint(nodes, uint64(n-before)), byte(asked))
			count, before = count+1, n
		}
	}
	b := append(binary.AppendUvarint(nil, count), nodes...)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.many {
		return append(b, 1)
	}
	b = append(b, 0)
	for a := range r.absent {
		b = binary.AppendUvarint(b, uint64(a.dir))
		b = append(binary.AppendUvarint(b, uint64(len(a.name))), a.name...)
	}
	return b
}

var errAsked = errors.New("what was asked of a layer cannot be read")

// Decode notes what Encode wrote of a recorder of the same view.
func (r *Recorder) Decode(b []byte) error {
	bad := false
	num := func(below int) int {
		n, size := binary.Uvarint(b)
		if size <= 0 || n >= uint64(below) {
			b, bad = nil, true
			return 0
		}
		b = b[size:]
		return int(n)
	}
	node := 0
	for count := num(r.view.Len() + 1); count > 0; count-- {
		node += num(r.view.Len())
		if bad || len(b) == 0 || node >= r.view.Len() || Questions(b[0])&^allQuestions != 0 {
			return errAsked
		}
		r.Ask(node, Questions(b[0]))
		b = b[1:]
	}
	r.many = num(2) == 1
	for len(b) > 0 && !bad {
		dir := num(r.view.Len())
		size := num(len(b) + 1)
		if bad || size > len(b) {
			return errAsked
		}
		r.Miss(dir, string(b[:size]))
		b = b[size:]
	}
	if bad {
		return errAsked
	}
	return nil
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
