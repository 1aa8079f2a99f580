package image

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// TestEncodeAfter: in pieces a config is written as in one, whatever is appended, changed and taken away between one
// state and the next.
func TestEncodeAfter(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	texts := []string{"", "RUN a <b> && \"c\"", mark, `[{"created_by":"` + mark + `"}]`, `"diff_ids":["` + mark + `"]`, "ä\u2028\xff\n", string(cachedMark)}
	text := func() string { return texts[r.IntN(len(texts))] }
	var buffer []byte
	for range 200 {
		c := &Config{}
		if r.IntN(2) == 0 {
			c.RootFS.DiffIDs = []digest.Digest{}
		}
		var before *Encoded
		for range 20 {
			next := Clone(c)
			at := time.Unix(r.Int64N(1e9), r.Int64N(1e9)).UTC()
			switch r.IntN(8) {
			case 0:
				next.History = append(next.History, History{Created: &at, CreatedBy: text(), Author: text(), EmptyLayer: true})
			case 1, 2, 3:
				next = Add(c, CloneRuntime(c.Config), History{Created: &at, CreatedBy: text(), Comment: text()}, digest.FromString(fmt.Sprint(r.IntN(9))))
				next.Cached = append(slices.Clip(next.Cached), CachedRow{Row: r.IntN(9), Key: digest.FromString(text()), MS: r.Int64N(9), Inputs: []byte(text())})
			case 4:
				next.Config.Env = append(next.Config.Env, mark, text())
				next.Config.Labels = map[string]string{text(): text(), "diff_ids": mark}
			case 5:
				if n := len(next.History); n > 0 {
					next.History[r.IntN(n)].CreatedBy = text()
				}
			case 6:
				next.History, next.Cached = next.History[:r.IntN(len(next.History)+1)], nil
			case 7:
				if n := len(next.Cached); n > 0 {
					next.Cached[r.IntN(n)].Inputs = []byte(text())
				}
				next.Stages = append(next.Stages, CachedStep{Key: digest.Digest(text()), Selected: text()})
			}
			want, err := Encode(next)
			if err != nil {
				t.Fatal(err)
			}
			got, e, err := AppendAfter(buffer[:0], before, next)
			buffer = got
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%v\n%s\nwant\n%s", err, got, want)
			}
			c = next
			if r.IntN(6) > 0 {
				before = e
			}
		}
	}
}
