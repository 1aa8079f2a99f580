package image

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// TestGrowing: configs that follow one another in a tree share room, and each has its own lists nevertheless, also when
// somebody appends to one.
func TestGrowing(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	type grown struct {
		*Growing
		want *Config
	}
	all := []grown{{Grow(&Config{}), &Config{}}}
	for i := range 500 {
		from := all[max(0, len(all)-1-r.IntN(4))] // mostly from the last
		row := History{CreatedBy: fmt.Sprint("RUN ", i)}
		var diffID digest.Digest
		if r.IntN(3) > 0 {
			diffID = digest.FromString(fmt.Sprint(i))
		}
		want := Clone(from.want)
		row.EmptyLayer = diffID == ""
		want.History = append(want.History, row)
		if diffID != "" {
			want.RootFS.DiffIDs = append(want.RootFS.DiffIDs, diffID)
		}
		want.RootFS.Type = "layers"
		next := from.Add(Runtime{}, row, diffID)
		if r.IntN(2) > 0 {
			cached := CachedRow{Row: i, Key: digest.FromString(row.CreatedBy)}
			next.AddCached(cached)
			want.Cached = append(want.Cached, cached)
		}
		if r.IntN(4) == 0 {
			_ = append(next.Config.History, History{CreatedBy: "stray"})
			_ = append(next.Config.Cached, CachedRow{Row: -1})
		}
		all = append(all, grown{next, want})
	}
	for i, g := range all {
		if !reflect.DeepEqual(g.Config, g.want) {
			t.Fatalf("config %d: %+v\nwant %+v", i, g.Config, g.want)
		}
	}
}

// Stages that begin with the same image grow at the same time.
func TestGrowingAtOnce(t *testing.T) {
	base := Grow(&Config{}).Add(Runtime{}, History{CreatedBy: "base"}, digest.FromString("base"))
	var stages sync.WaitGroup
	for i := range 8 {
		stages.Go(func() {
			next := base
			for k := range 50 {
				next = next.Add(Runtime{}, History{CreatedBy: fmt.Sprint(i, k)}, digest.FromString(fmt.Sprint(i, k)))
			}
			for k, row := range next.Config.History[1:] {
				if row.CreatedBy != fmt.Sprint(i, k) || next.Config.RootFS.DiffIDs[k+1] != digest.FromString(row.CreatedBy) {
					t.Errorf("stage %d, row %d: %s", i, k, row.CreatedBy)
				}
			}
		})
	}
	stages.Wait()
}
