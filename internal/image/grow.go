package image

import (
	"slices"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
)

// Growing is a config that others follow, each with a step more. Their lists begin with those of this one, and of
// hundreds of steps copies of all lists would be most of a build's memory. So there is room behind the lists, which the
// first that follows takes; any other gets copies. No list of a Config shows the room, so nobody else can take it.
type Growing struct {
	Config *Config // which does not change any more once another follows

	history []History
	diffIDs []digest.Digest
	cached  []CachedRow
	taken   atomic.Bool // the room behind the lists
}

// Grow returns a config that others can follow.
func Grow(c *Config) *Growing {
	return &Growing{Config: c, history: slices.Clip(c.History), diffIDs: slices.Clip(c.RootFS.DiffIDs), cached: slices.Clip(c.Cached)}
}

// Add returns the config of the state after one more step: runtime configuration rt, a history row, and the layer
// diffID ("" for a row without one).
func (g *Growing) Add(rt Runtime, row History, diffID digest.Digest) *Growing {
	next := &Growing{history: g.history, diffIDs: g.diffIDs, cached: g.cached}
	if g.taken.Swap(true) {
		next.history, next.diffIDs, next.cached = slices.Clip(g.history), slices.Clip(g.diffIDs), slices.Clip(g.cached)
	}
	row.EmptyLayer = diffID == ""
	next.history = append(next.history, row)
	if diffID != "" {
		next.diffIDs = append(next.diffIDs, diffID)
	}
	c := *g.Config
	c.Config = rt
	c.History, c.RootFS.DiffIDs = slices.Clip(next.history), slices.Clip(next.diffIDs)
	c.Created = row.Created
	c.RootFS.Type = "layers"
	next.Config = &c
	return next
}

// AddCached notes the cache key of the step that Add added, before another config follows.
func (g *Growing) AddCached(row CachedRow) {
	g.cached = append(g.cached, row)
	g.Config.Cached = slices.Clip(g.cached)
}

// Add returns the config of the state after one more step, see Growing.Add.
func Add(parent *Config, rt Runtime, row History, diffID digest.Digest) *Config {
	return Grow(parent).Add(rt, row, diffID).Config
}
