package selection

import (
	"context"

	"github.com/strata-build/strata/internal/layer"
)

// collector gives items of everything below a directory that the filter lets through.
type collector struct {
	s     *selector
	ctx   context.Context
	skip  int            // length of what comes before Target in a path
	first map[any]string // Target of the first item of each file that may have several names
	each  func(*Item) error
	only  string // if set, the only target that is looked for
	// onTheWay are the directories from the one that was matched to the one being read, as far as they are no items yet.
	onTheWay []Item
}

func (c *collector) dir(p string, in inside) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	entries, identity, err := c.s.readDir(c.ctx, p)
	if err != nil {
		return err
	}
	for i, e := range entries {
		it := Item{Target: e.Path[c.skip:]}
		if c.only != "" && it.Target != c.only && !layer.Within(c.only, it.Target) {
			continue
		}
		selected, enters, below, err := c.s.filter.test(it.Target, e.Type == layer.Dir, in)
		if err != nil {
			return err
		}
		if !selected && !enters {
			continue
		}
		if it.Entry, err = c.s.follow(c.ctx, e); err != nil {
			return err
		}
		if selected {
			if err := c.add(it, identity(i, it.Entry)); err != nil {
				return err
			}
		}
		if e.Type != layer.Dir || !enters {
			continue
		}
		if err := c.enter(it, selected, below); err != nil {
			return err
		}
	}
	return nil
}

// enter collects what is in a directory. One that is not selected is an item all the same if something in it is.
func (c *collector) enter(it Item, selected bool, below inside) error {
	before := len(c.onTheWay)
	if !selected {
		it.OnTheWay = true
		c.onTheWay = append(c.onTheWay, it)
	}
	err := c.dir(it.Entry.Path, below)
	if len(c.onTheWay) > before {
		c.onTheWay = c.onTheWay[:before]
	}
	return err
}

// add gives an item. id is what the names of one file have in common, nil for what has one name.
func (c *collector) add(it Item, id any) error {
	for i := range c.onTheWay {
		if err := c.each(&c.onTheWay[i]); err != nil {
			return err
		}
	}
	c.onTheWay = c.onTheWay[:0]
	if id != nil {
		if first, ok := c.first[id]; ok {
			it.Link = first
		} else {
			c.first[id] = it.Target
		}
	}
	return c.each(&it)
}
