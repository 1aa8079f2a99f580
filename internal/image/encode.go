package image

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"unsafe"

	"github.com/opencontainers/go-digest"
)

// Encoded is how a config is written, in pieces: the config of a state with one more step begins with the same rows,
// layers and cache keys, which need not be written again. With 200 steps, writing each config as a whole was a
// quarter of what an unchanged build took.
type Encoded struct {
	before *Encoded // of which this is the continuation, nil for the first
	config *Config  // which does not change any more
	// What comes after those of before: the elements of JSON arrays, each with a comma behind it.
	history, diffIDs, cached []byte
}

// EncodeAfter is Encode for the config of a state that follows another, of which before tells; nil for none. Neither
// config may change afterwards.
func EncodeAfter(before *Encoded, c *Config) ([]byte, *Encoded, error) {
	return AppendAfter(nil, before, c)
}

// AppendAfter appends what EncodeAfter gives to dst: in a build of hundreds of steps, memory for each config anew was a
// tenth of the time.
func AppendAfter(dst []byte, before *Encoded, c *Config) ([]byte, *Encoded, error) {
	e := &Encoded{config: c}
	var rows, layers, keys int
	if before != nil && before.begins(c) {
		e.before = before
		rows, layers, keys = len(before.config.History), len(before.config.RootFS.DiffIDs), len(before.config.Cached)
	}
	var err error
	if e.history, err = elements(c.History[rows:]); err == nil {
		e.diffIDs, err = elements(c.RootFS.DiffIDs[layers:])
	}
	if err == nil {
		e.cached, err = elements(c.Cached[keys:])
	}
	if err != nil {
		return nil, nil, fmt.Errorf("writing an image config: %w", err)
	}
	data, err := e.join(dst)
	return data, e, err
}

// begins says whether the lists of a config begin with those of e's.
func (e *Encoded) begins(c *Config) bool {
	b := e.config
	if len(c.History) < len(b.History) || len(c.RootFS.DiffIDs) < len(b.RootFS.DiffIDs) || len(c.Cached) < len(b.Cached) {
		return false
	}
	return isStart(b.History, c.History, func(x, y *History) bool { return *x == *y }) &&
		isStart(b.RootFS.DiffIDs, c.RootFS.DiffIDs, func(x, y *digest.Digest) bool { return *x == *y }) &&
		isStart(b.Cached, c.Cached, func(x, y *CachedRow) bool {
			return x.Row == y.Row && x.Key == y.Key && x.MS == y.MS && x.Weak == y.Weak && (x.Inputs == nil) == (y.Inputs == nil) && bytes.Equal(x.Inputs, y.Inputs)
		})
}

// isStart says whether a list begins with start, which has no more elements. The lists of configs that follow each
// other mostly lie in one place (Growing), where nothing changes.
func isStart[T any](start, list []T, equal func(x, y *T) bool) bool {
	if unsafe.SliceData(start) == unsafe.SliceData(list) {
		return true
	}
	for i := range start {
		if !equal(&start[i], &list[i]) {
			return false
		}
	}
	return true
}

// elements writes each element of a list, with a comma behind it.
func elements[T any](list []T) ([]byte, error) {
	if len(list) == 0 {
		return nil, nil
	}
	b := bytes.Buffer{}
	for _, v := range list {
		if err := encode(&b, v); err != nil {
			return nil, err
		}
		b.Truncate(b.Len() - 1) // the newline
		b.WriteByte(',')
	}
	return b.Bytes(), nil
}

// mark stands for the elements of a list. As it is looked for, with the names of the fields around it, it is in no
// string: there a quotation mark has a backslash before it.
const mark = "here are the elements"

var (
	historyMark = []byte(`[{"created_by":"` + mark + `"}]`)
	layersMark  = []byte(`"diff_ids":["` + mark + `"]`)
	cachedMark  = []byte(`[{"row":0,"key":"` + mark + `","ms":0}]`)
)

var buffers = sync.Pool{New: func() any { return &bytes.Buffer{} }}

// join appends the config to out, around the pieces.
func (e *Encoded) join(out []byte) ([]byte, error) {
	c := *e.config
	if len(c.History) > 0 {
		c.History = []History{{CreatedBy: mark}}
	}
	if len(c.RootFS.DiffIDs) > 0 {
		c.RootFS.DiffIDs = []digest.Digest{mark}
	}
	if len(c.Cached) > 0 {
		c.Cached = []CachedRow{{Key: mark}}
	}
	b := buffers.Get().(*bytes.Buffer)
	defer buffers.Put(b)
	b.Reset()
	if err := encode(b, &c); err != nil {
		return nil, fmt.Errorf("writing an image config: %w", err)
	}
	rest := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	var chain []*Encoded
	size := len(rest)
	for p := e; p != nil; p = p.before {
		chain = append(chain, p)
		size += len(p.history) + len(p.diffIDs) + len(p.cached)
	}
	out = slices.Grow(out, size)
	// In the order of the fields.
	for _, list := range []struct {
		mark  []byte
		piece func(*Encoded) []byte
	}{
		{layersMark, func(p *Encoded) []byte { return p.diffIDs }},
		{historyMark, func(p *Encoded) []byte { return p.history }},
		{cachedMark, func(p *Encoded) []byte { return p.cached }},
	} {
		at := bytes.Index(rest, list.mark)
		if at < 0 {
			continue // an empty list
		}
		open := at + bytes.IndexByte(list.mark, '[') + 1
		out = append(out, rest[:open]...)
		for i := len(chain) - 1; i >= 0; i-- {
			out = append(out, list.piece(chain[i])...)
		}
		out = append(out[:len(out)-1], ']') // the last comma
		rest = rest[at+len(list.mark):]
	}
	return append(out, rest...), nil
}

// encode writes a value as JSON with a newline behind it.
func encode(b *bytes.Buffer, v any) error {
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
