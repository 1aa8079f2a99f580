package load

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/strata-build/strata/test/testbed"
)

// ownNames is how many names a worker has, shared how many are everybody's.
const (
	ownNames = 3
	shared   = 4
)

func (w *worker) ownName() string {
	return fmt.Sprintf("%s/load/%s:%d", w.registry, w.name, w.rand.IntN(ownNames))
}

func (w *worker) sharedName() string {
	return fmt.Sprintf("%s/load/shared:%d", w.registry, w.rand.IntN(shared))
}

// make builds something under a name of the worker's own, and sometimes under one of everybody's too.
func (w *worker) make() (name string, ok bool) {
	name = w.ownName()
	variant, target := w.rand.IntN(variants), targets[w.rand.IntN(len(targets))]
	args := []string{"build", "-q", "-t", name}
	if w.rand.IntN(3) == 0 {
		args = append(args, "-t", w.sharedName())
	}
	switch w.rand.IntN(6) {
	case 0:
		args = append(args, "--no-cache")
	case 1, 2:
		args = append(args, "--build-arg", fmt.Sprint("N=", w.rand.Uint64()))
	}
	_, ok = w.do(append(args, w.context(variant, target)...)...)
	if ok {
		w.own[name] = madeOf(variant, target)
	}
	return name, ok
}

// build is a step of those who build: most steps are a build, and after each the names are looked at.
func (w *worker) build() {
	switch name := w.ownName(); {
	case w.rand.IntN(10) < 6 || w.own[name] == "":
		w.make()
	case w.rand.IntN(3) == 0:
		w.removeOwn(name)
		return
	case w.rand.IntN(2) == 0:
		w.compare(name)
	default:
		w.use(name)
	}
	w.names()
}

// use does with an image what needs it to be whole.
func (w *worker) use(name string) {
	switch w.rand.IntN(5) {
	case 0:
		to := w.ownName()
		if _, ok := w.do("tag", name, to); ok {
			w.own[to] = w.own[name]
		}
	case 1:
		w.do("history", "-q", name)
	case 2:
		w.do("tag", name, w.sharedName())
	default:
		began := time.Now()
		variant := w.own[name][len(w.own[name])-1:]
		if out, ok := w.do("run", "--rm", name, "head", "-n", "1", "/c/f3"); ok && strings.TrimSpace(out) != "variant "+variant+" file 3" {
			w.fail(began, "%s was built of %s, and has in /c/f3:\n%s", name, w.own[name], out)
		}
	}
}

// names sees that the worker's own names are there, and no others.
func (w *worker) names() {
	began := time.Now()
	out, ok := w.do("images", "--format", "{{.Repository}}:{{.Tag}}")
	if !ok {
		return
	}
	listed := strings.Fields(out)
	for i := range ownNames {
		name := fmt.Sprintf("%s/load/%s:%d", w.registry, w.name, i)
		if there := slices.Contains(listed, name); there != (w.own[name] != "") {
			w.fail(began, "%s was built of %q; it is in the list: %v", name, w.own[name], there)
			delete(w.own, name)
		}
	}
}

// compare sees that what is in an image is what a new store gives.
func (w *worker) compare(name string) {
	began := time.Now()
	content, err := w.content(name, w.path(w.name+".tar"))
	w.journal.add(w.name, began, err, []string{"save", name})
	if err != nil {
		w.fail(began, "%v", err)
	} else if diff := testbed.Difference(w.want[w.own[name]], content); diff != "" {
		w.fail(began, "%s was built of %s: %s", name, w.own[name], diff)
	}
}

// pushAndPull builds, pushes, removes and pulls again.
func (w *worker) pushAndPull() {
	name, ok := w.make()
	if !ok {
		return
	}
	if _, ok := w.do("push", "-q", name); !ok {
		return
	}
	of := w.own[name]
	if w.rand.IntN(4) > 0 {
		w.removeOwn(name)
	}
	if _, ok := w.do("pull", "-q", name); !ok {
		return
	}
	w.own[name] = of
	w.names()
	w.compare(name)
}

// saveAndLoad builds, saves, removes and loads again; and does the same with what others have made.
func (w *worker) saveAndLoad() {
	name, ok := w.make()
	if !ok {
		return
	}
	archive := w.path(w.name + "-archive.tar")
	defer os.Remove(archive)
	if _, ok := w.do("save", "-o", archive, name); !ok {
		return
	}
	of := w.own[name]
	if w.rand.IntN(4) > 0 {
		w.removeOwn(name)
	}
	if _, ok := w.do("load", "-q", "-i", archive); !ok {
		return
	}
	w.own[name] = of
	w.names()
	w.compare(name)
	w.adopt()
}

// removeOwn removes a name, and sees that it is gone.
func (w *worker) removeOwn(name string) {
	if _, ok := w.do("rmi", name); ok {
		delete(w.own, name)
		w.names()
	}
}

// adopt gives an image that others may remove at any moment a name of the worker's own.
func (w *worker) adopt() {
	began := time.Now()
	from, to := w.sharedName(), w.ownName()
	if _, ok := w.try("tag", from, to); !ok {
		return
	}
	content, err := w.content(to, w.path(w.name+".tar"))
	w.journal.add(w.name, began, err, []string{"save", to})
	for of, want := range w.want {
		if err == nil && content == want {
			w.own[to] = of
			return
		}
	}
	w.fail(began, "%s, which was %s: %v; its content is none that was built:\n%s", to, from, err, content)
}

// remove removes names that are everybody's, and looks at them.
func (w *worker) remove() {
	name := w.sharedName()
	switch w.rand.IntN(6) {
	case 0:
		w.try("history", "-q", name)
	case 1:
		w.try("push", "-q", name)
	case 2:
		w.try("run", "--rm", name, "true")
	case 3:
		w.do("images", "-a")
	default:
		w.try("rmi", name)
	}
}

// prune prunes in a way that leaves named images.
func (w *worker) prune() {
	all := [][]string{
		{"builder", "prune", "-f"},
		{"builder", "prune", "-a", "-f"},
		{"builder", "prune", "-f", "--keep-storage", "0"},
		{"builder", "prune", "-a", "-f", "--keep-storage", "0"},
		{"system", "prune", "-f"},
		{"image", "prune", "-f"},
		{"system", "df"},
	}
	w.do(all[w.rand.IntN(len(all))]...)
}
