// Package page shows images, their layers and files, and builds in a browser: as pages that a server on this
// machine gives to whoever has the token in its address, and as one file that holds all of an image.
//
// All text is in the HTML, which templates make here; the script adds the tree of files, keys, and what moves. Both
// are embedded, and a Content-Security-Policy lets a browser run nothing else: names, labels and files of an image
// are anybody's.
package page

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/strata-build/strata/internal/look/anatomy"
	"github.com/strata-build/strata/internal/look/history"
	"github.com/strata-build/strata/internal/look/timeline"
	"github.com/strata-build/strata/internal/transfer"
)

// Options say what is shown.
type Options struct {
	// Mover opens images.
	Mover *transfer.Mover
	// Image is what the person named: all that anatomy.Open finds; "" for none.
	Image string
	// Made tells of the record of a row's step, nil where there is none. Whoever knows records gives it; nil for
	// nobody.
	Made func(r *history.Row) (*Made, error)
	// Version is that of the program.
	Version string
	// Changes says that a person may change the store by the page: see change.go.
	Changes bool
}

// Made is what the record of a step tells of its row.
type Made struct {
	// Written is the instruction as its Dockerfile had it, "" where the row says it all.
	Written string
	Took    time.Duration // it ran
	At      time.Time     // it ran
	// Origin is the image or cache from elsewhere that the record came from, "" for this machine.
	Origin string
	// Fetches says when and from where a step took something from the network, on one line; "" for one that does not.
	Fetches string
}

// errUnknown is the error for what is neither in the store nor what the person named.
var errUnknown = errors.New("it is neither in the store nor what strata page was started with; strata page NAME shows an image of a registry or an archive")

// gallery holds the images that are looked at.
type gallery struct {
	Options
	contained bool // it is for one file: the advisories are not looked at again
	life      context.Context
	end       context.CancelFunc

	mu     sync.Mutex
	named  *opened // what Options.Image names
	recent []*opened

	comparing sync.Mutex // of what follows; taken before the locks of images
	compared  pair
}

// maxRecent is how many images are kept open beside the one that the person named: two that are compared and some
// more.
const maxRecent = 6

// opened is an image with what is known of it.
type opened struct {
	im   *anatomy.Image
	life context.Context // done when nobody looks any more
	// using is held by who reads layers through im. Its rows and configuration, which nobody changes, and what its
	// layers are called can be read without. Who holds it may take mu, and not the other way round.
	using sync.Mutex

	// making is held by who makes what is made once: others wait for it, and mu is free meanwhile.
	making sync.Mutex

	mu sync.Mutex // of what follows
	// t is the timeline of the lowest layers that are known: of all, unless some are in a registry only.
	t     *timeline.Timeline
	order []timeline.Node // all paths, parents first and siblings by name; their places are the numbers in addresses
	// places are the numbers of all paths, by node.
	places []int32
	packed []byte // the table, compressed; nil until it is asked for
	wasted int64  // bytes that nobody sees
	// weighed is where the bytes are; nil until it is asked for.
	weighed *bytesView
	// vulnerable is what the advisories say; nil until that is asked for.
	vulnerable *vulnerable

	packages installed
}

func newGallery(o Options) *gallery {
	g := &gallery{Options: o}
	g.life, g.end = context.WithCancel(context.Background())
	return g
}

// open finds an image of the store, or the one that the person named.
func (g *gallery) open(ctx context.Context, text string) (*opened, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if text == g.Image && text != "" {
		if g.named == nil {
			o, err := g.load(ctx, text)
			if err != nil {
				return nil, err
			}
			g.named = o
		}
		if g.named.isFixed(g, text) {
			return g.named, nil
		}
	}
	c, err := history.Find(g.Mover.Store, text)
	var unknown *history.NotFoundError
	if errors.As(err, &unknown) {
		return nil, fmt.Errorf("%s: %w", text, errUnknown)
	}
	if err != nil {
		return nil, err
	}
	for i, o := range g.recent {
		if o.im.ID == c.ID && o.im.Text == text {
			g.recent = append(append(g.recent[:i:i], g.recent[i+1:]...), o)
			return o, nil
		}
	}
	o, err := g.load(ctx, text)
	if err != nil {
		return nil, err
	}
	if g.recent = append(g.recent, o); len(g.recent) > maxRecent {
		g.recent = g.recent[1:]
	}
	return o, nil
}

// isFixed says that the image that the person named is none of the store, whose name may mean another one by now.
func (o *opened) isFixed(g *gallery, text string) bool {
	c, err := history.Find(g.Mover.Store, text)
	return err != nil || c.ID == o.im.ID
}

func (g *gallery) load(ctx context.Context, text string) (*opened, error) {
	im, err := anatomy.Open(ctx, g.Mover, text)
	if err != nil {
		return nil, err
	}
	if len(im.Rows) == 0 {
		im.Close()
		return nil, fmt.Errorf("%s has neither layers nor a history", text)
	}
	o := &opened{im: im, life: g.life}
	err = im.LookHere(ctx)
	if err == nil {
		err = o.read(ctx)
	}
	if err != nil {
		im.Close()
		return nil, err
	}
	return o, nil
}

// read makes the timeline of what is known. Nobody else uses im.
func (o *opened) read(ctx context.Context) error {
	t, err := o.im.KnownTimeline(ctx)
	if err != nil {
		return err
	}
	order := make([]timeline.Node, 0, t.Len())
	t.Walk(timeline.Root, func(n timeline.Node) bool {
		order = append(order, n)
		return true
	})
	places := make([]int32, t.Len())
	for i, n := range order {
		places[n] = int32(i)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.t, o.order, o.places, o.packed, o.weighed = t, order, places, nil, nil
	o.wasted = timeline.FindWaste(t).Bytes
	return nil
}

// fetch brings the layers up to one, so that the timeline knows them.
func (o *opened) fetch(ctx context.Context, layer int) error {
	o.using.Lock()
	defer o.using.Unlock()
	if !o.isPartial() {
		return nil
	}
	var wanted []int
	for i := 0; i <= layer && i < o.im.Layers(); i++ {
		wanted = append(wanted, i)
	}
	if err := o.im.Look(ctx, wanted...); err != nil {
		return err
	}
	return o.read(ctx)
}

// timeline is what is known of the image's files at the moment.
func (o *opened) timeline() (*timeline.Timeline, []timeline.Node) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.t, o.order
}

// top is the uppermost layer at a row, -1 for none.
func (o *opened) top(row int) int {
	for i := row; i >= 0; i-- {
		if l := o.im.Rows[i].Layer; l >= 0 {
			return l
		}
	}
	return -1
}

// close closes all images.
func (g *gallery) close() error {
	g.end()
	g.mu.Lock()
	defer g.mu.Unlock()
	var failures []error
	for _, o := range append(g.recent, g.named) {
		if o != nil {
			o.using.Lock()
			failures = append(failures, o.im.Close())
			o.using.Unlock()
		}
	}
	return errors.Join(failures...)
}
