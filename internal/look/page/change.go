package page

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/explain"
	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/look/history"
	"github.com/strata-build/strata/internal/look/inventory"
	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/transfer/registry"
)

// What a person may change of the store, where strata page was started with --allow-changes; without it these addresses
// do not exist. Each has a page that says what would happen and asks, without JavaScript too, and happens by the POST of
// that page's form only, which needs the token and the right Origin as every one does (Server.refuses).
const (
	removeImage  = "remove"
	tagImage     = "tag"
	forgetBuild  = "forget"
	forgetBuilds = "forget-all"
	pruneCache   = "prune"
)

// question is what is asked before something is changed, and afterwards what was.
type question struct {
	Do, Subject string
	// ID is the image's that the person was shown: a name that means another one by now is left alone.
	ID    string
	Title string
	Text  []string // what happens, or what happened
	Word  string   // on the button, "" where it is done
	Input string   // the label of what is to be typed, "" for nothing
	Given string   // what stands there
	Back  string   // an address
}

// ask shows what a change would do.
func (s *Server) ask(r *http.Request) (*document, error) {
	q, err := s.question(r)
	if err != nil {
		return nil, err
	}
	return &document{Title: q.Title, View: "change", Tab: q.Back, Data: q}, nil
}

// question says what the change of an address would do.
func (s *Server) question(r *http.Request) (*question, error) {
	q := &question{Do: r.FormValue("do"), Subject: r.FormValue("subject"), Back: "images"}
	switch q.Do {
	case removeImage:
		return q, s.aboutRemoval(q)
	case tagImage:
		return q, s.aboutName(q)
	case forgetBuild:
		row, err := s.gallery.Mover.Store.BuildByID(q.Subject)
		if err != nil {
			return nil, fmt.Errorf("build %s: %w", q.Subject, err)
		}
		b, err := explain.Read(row)
		if err != nil {
			return nil, err
		}
		q.Subject, q.Title, q.Word, q.Back = b.ID, "Forget build "+b.ID+"?", "Forget it", "builds"
		q.Text = []string{"What became of its steps and what they printed is forgotten. The image that it made and the cache stay."}
	case forgetBuilds:
		q.Title, q.Word, q.Back = "Forget all builds?", "Forget all", "builds"
		q.Text = []string{"What became of the steps of past builds and what they printed is forgotten. Images and cache stay; why the next build's steps run is then not known."}
	case pruneCache:
		q.Title, q.Word = "Remove the build cache that no image has?", "Remove it"
		q.Text = []string{"Steps on the way to an image stay cached. Other steps, and the contents of cache mounts, go: builds that need them run them again. strata builder prune does the same."}
	default:
		return nil, usage(fmt.Sprintf("do=%q: it is none of the changes that this page makes", q.Do))
	}
	return q, nil
}

// aboutName asks of naming an image.
func (s *Server) aboutName(q *question) error {
	c, err := history.Find(s.gallery.Mover.Store, q.Subject)
	if err != nil {
		return err
	}
	q.ID = string(c.ID)
	q.Title, q.Word, q.Input, q.Given = "Name image "+image.ShortID(c.ID), "Give the name", "New name", q.Subject
	q.Text = []string{"Its names stay. An image that has the new name until then loses it."}
	return nil
}

// aboutRemoval asks of removing an image, or a name of it. What would be refused is not asked.
func (s *Server) aboutRemoval(q *question) error {
	r, err := inventory.WouldRemove(s.gallery.Mover.Store, q.Subject)
	var unknown *history.NotFoundError
	switch {
	case errors.As(err, &unknown):
		return err
	case err != nil:
		return usage(err.Error())
	}
	img := r.Image
	q.ID = string(img.ID)
	short := image.ShortID(img.ID)
	switch {
	case r.Name != nil && len(img.Names) > 1:
		q.Title = "Remove the name " + q.Subject + "?"
		q.Text = []string{fmt.Sprintf("Image %s keeps its other names, and all its layers.", short)}
	case r.Name != nil:
		q.Title = "Remove " + q.Subject + "?"
		q.Text = []string{fmt.Sprintf("It is the only name of image %s, which goes with it: %s of files, with the steps and layers that no other image needs.", short, human.Size(img.Size))}
	default:
		q.Title = "Remove image " + short + "?"
		q.Text = []string{fmt.Sprintf("It goes with all its names, %s of files, and with the steps and layers that no other image needs.", human.Size(img.Size))}
	}
	q.Word = "Remove it"
	return nil
}

// change does what its page asked for, and says what was done.
func (s *Server) change(r *http.Request) (*document, error) {
	r.Body = http.MaxBytesReader(nil, r.Body, 64<<10)
	q, err := s.question(r)
	if err != nil {
		return nil, err
	}
	other := usage(q.Subject + " is another image by now; look at it again")
	if q.ID != r.PostFormValue("id") {
		return nil, other
	}
	st := s.gallery.Mover.Store
	done := &question{Title: "Done", Back: q.Back}
	switch q.Do {
	case removeImage:
		var gone *inventory.Removed
		if gone, err = inventory.RemoveShown(st, q.Subject, digest.Digest(q.ID)); err == nil {
			done.Text = removedText(gone)
		} else if errors.Is(err, inventory.ErrOther) {
			err = other
		}
	case tagImage:
		done.Text, err = s.giveName(digest.Digest(q.ID), r.PostFormValue("text"))
	case forgetBuild:
		err = st.ForgetBuilds(q.Subject)
		done.Text = []string{"Build " + q.Subject + " is forgotten."}
	case forgetBuilds:
		err = st.ForgetBuilds()
		done.Text = []string{"All past builds are forgotten."}
	case pruneCache:
		var gone *store.Pruned
		if gone, err = st.Prune(store.PruneOptions{Records: true}); err == nil {
			done.Text = []string{fmt.Sprintf("%s, %s and %s were removed: %s of this disk.", count(len(gone.Steps), "step"), count(len(gone.Layers), "layer"),
				count(gone.Mounts, "cache mount"), human.Size(gone.Freed))}
		}
	}
	if err != nil {
		return nil, err
	}
	return &document{Title: done.Title, View: "change", Tab: done.Back, Data: done}, nil
}

// removedText says what went with an image.
func removedText(gone *inventory.Removed) []string {
	var text []string
	for _, name := range gone.Untagged {
		text = append(text, "The name "+name+" is removed.")
	}
	if n := len(gone.Deleted); n > 0 {
		text = append(text, count(n, "object")+" went with it: images, steps and layers.")
	}
	if gone.InUse {
		text = append(text, "Something that runs may use the image: it goes with the next prune.")
	}
	return text
}

// giveName gives an image another name.
func (s *Server) giveName(id digest.Digest, text string) ([]string, error) {
	name, err := registry.ParseNewName(text)
	if err != nil {
		return nil, usage(err.Error())
	}
	st := s.gallery.Mover.Store
	st.MakeRoom()
	err = st.SetImages(name, []digest.Digest{id}, "")
	if errors.Is(err, store.ErrNotFound) {
		return nil, &history.NotFoundError{Text: string(id)} // removed this moment
	}
	return []string{"Image " + image.ShortID(id) + " has the name " + text + "."}, err
}
