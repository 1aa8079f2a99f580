package page

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/look/timeline"
	"github.com/strata-build/strata/internal/look/view"
)

// table is all paths of an image and what each layer did to them, as the script reads it: columns, which compress
// well, with numbers that stand for texts. A path costs 15 to 20 bytes compressed.
type table struct {
	Names []string `json:"names"` // as people see them; that of the root is ""
	Depth []int    `json:"depth"` // of each path; parents come before what they hold
	Count []int    `json:"count"` // of events of each path, which follow each other below, the newest first
	Texts []string `json:"texts"` // modes, owners, links and details, each once

	Layer  []int   `json:"layer"` // of each event
	Kind   string  `json:"kind"`  // a timeline.Kind of each
	Type   string  `json:"type"`  // f, d, l, c, b or p of each
	Mode   []int   `json:"mode"`  // index in Texts, as of Owner, Link and Detail
	Owner  []int   `json:"owner"`
	Size   []int64 `json:"size"`   // of files, in bytes
	Link   []int   `json:"link"`   // where a symbolic link leads
	Detail []int   `json:"detail"` // in what a path differs from the event before
	Stored string  `json:"stored"` // 1 where the layer itself holds the bytes, else 0
}

// texts gives each text a number.
type texts struct {
	all  []string
	byID map[string]int
}

func (t *texts) number(text string) int {
	n, ok := t.byID[text]
	if !ok {
		n = len(t.all)
		t.byID[text], t.all = n, append(t.all, text)
	}
	return n
}

// newTable makes the table of a timeline whose paths have an order.
func newTable(t *timeline.Timeline, order []timeline.Node) *table {
	words := &texts{byID: map[string]int{}}
	words.number("")
	paths := t.Len()
	ints := func() []int { return make([]int, 0, paths) } // most paths have one event
	out := &table{
		Names: make([]string, 0, paths), Depth: ints(), Count: ints(), Layer: ints(), Mode: ints(), Owner: ints(), Size: make([]int64, 0, paths),
		Link: ints(), Detail: ints(),
	}
	kinds, types, stored := make([]byte, 0, paths), make([]byte, 0, paths), make([]byte, 0, paths)
	depth := make([]int, paths)
	for _, n := range order {
		if n != timeline.Root {
			depth[n] = depth[t.Parent(n)] + 1
		}
		out.Names = append(out.Names, human.Quoted(t.Name(n)))
		out.Depth = append(out.Depth, depth[n])
		count := 0
		var newer *timeline.Event
		detail := func(before timeline.Event) {
			out.Detail[len(out.Detail)-1] = words.number(view.What(before, *newer))
		}
		for e := range t.Events(n) {
			if newer != nil && (newer.Kind == timeline.Changed || newer.Kind == timeline.Kept && newer.Type != layer.Dir) {
				detail(e)
			}
			count++
			out.Layer = append(out.Layer, e.Layer)
			kinds = append(kinds, byte(e.Kind))
			types = append(types, letter(e.Type))
			out.Mode = append(out.Mode, words.number(view.Mode(e.Type, e.Mode)))
			out.Owner = append(out.Owner, words.number(owner(e.UID, e.GID)))
			out.Size = append(out.Size, e.Size)
			out.Link = append(out.Link, words.number(human.Quoted(e.Link)))
			out.Detail = append(out.Detail, 0)
			if e.Stored() > 0 {
				stored = append(stored, '1')
			} else {
				stored = append(stored, '0')
			}
			kept := e
			newer = &kept
		}
		out.Count = append(out.Count, count)
	}
	out.Kind, out.Type, out.Stored, out.Texts = string(kinds), string(types), string(stored), words.all
	return out
}

// owner is "0:0".
func owner(uid, gid int) string { return strconv.Itoa(uid) + ":" + strconv.Itoa(gid) }

// letter is a type as find -type has it.
func letter(t layer.Type) byte {
	switch t {
	case layer.Dir:
		return 'd'
	case layer.Symlink:
		return 'l'
	case layer.Char:
		return 'c'
	case layer.Block:
		return 'b'
	case layer.Fifo:
		return 'p'
	}
	return 'f'
}

// compressed is the image's table, as gzip of JSON.
func (o *opened) compressed() ([]byte, error) {
	o.making.Lock()
	defer o.making.Unlock()
	o.mu.Lock()
	t, order, packed := o.t, o.order, o.packed
	o.mu.Unlock()
	if packed != nil {
		return packed, nil
	}
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	if err := json.NewEncoder(w).Encode(newTable(t, order)); err != nil {
		return nil, fmt.Errorf("listing the files: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("listing the files: %w", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.t == t { // or else layers were fetched meanwhile
		o.packed = b.Bytes()
	}
	return b.Bytes(), nil
}
