package crash

import (
	"archive/tar"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// work is what there is to be done on a machine, and what has to come of it.
type work struct {
	dir      string
	registry string            // its address
	want     map[string]string // what is in the image of each name, as testbed.ImageContent gives it
}

// operation is a few commands that somebody runs one after the other.
type operation struct {
	name     string
	commands [][]string
	// again says that the commands have to succeed on any sound store, and give images with the
	// contents that work.want has. Others may fail, as a rmi does where there is nothing to remove.
	again bool
}

// variants is how many contexts there are that differ in what their files hold.
const variants = 3

// dockerfile has a COPY, RUN steps on it that read all of it, a cache mount and a step at the end
// that runs anew for each N but always gives the same.
const dockerfile = `FROM busybox:latest AS files
COPY c /c
COPY big /big
FROM files AS made
RUN mkdir /made && cp -r /c /made/c && cat /c/* | sha256sum > /sum
RUN cat /c/* /made/c/* /sum | sha256sum > /sum2 && ln -s /made /link
FROM files AS cached
RUN --mount=type=cache,target=/k,id=VARIANT \
	if [ ! -e /k/done ]; then for i in $(seq 30); do head -c ${i}000 /c/large > /k/$i; done; touch /k/done; fi; \
	cat /k/* | sha256sum > /kept
FROM made AS top
ARG N
RUN cat /c/* /big/* /made/c/* /sum /sum2 | sha256sum > /top
`

// onTop is a Dockerfile whose RUN reads all files of an image that came from elsewhere.
const onTop = "FROM %s\nARG N\nRUN cat /c/* | sha256sum > /top\n"

// names of the images.
const (
	loadedImage   = "crash/loaded:1"
	importedImage = "crash/imported:1"
)

func (w *work) pulledImage() string { return w.registry + "/crash/pulled:1" }

func (w *work) path(elem ...string) string { return filepath.Join(append([]string{w.dir}, elem...)...) }

// writeContexts writes what the builds read.
func (w *work) writeContexts() error {
	for v := range variants {
		dir := w.path(fmt.Sprint("context", v))
		if err := os.MkdirAll(filepath.Join(dir, "c"), 0o755); err != nil {
			return err
		}
		text := strings.ReplaceAll(dockerfile, "VARIANT", fmt.Sprint(v))
		if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(text), 0o644); err != nil {
			return err
		}
		r := rand.NewChaCha8([32]byte{byte(v + 1)})
		for i := range 60 {
			data := make([]byte, 1+int(r.Uint64()%9000))
			r.Read(data)
			if err := os.WriteFile(filepath.Join(dir, "c", fmt.Sprint("f", i)), data, 0o644); err != nil {
				return err
			}
		}
		if err := writeBig(filepath.Join(dir, "big"), v); err != nil {
			return err
		}
		large := make([]byte, 400_000)
		r.Read(large)
		if err := os.WriteFile(filepath.Join(dir, "c", "large"), large, 0o644); err != nil {
			return err
		}
	}
	for _, name := range []string{loadedImage, importedImage, w.pulledImage()} {
		if err := os.MkdirAll(w.topContext(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(w.topContext(name), "Dockerfile"), fmt.Appendf(nil, onTop, name), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// writeBig writes what the contexts have in common but for one file: so much that the layer of it is a delta of another
// context's.
func writeBig(dir string, variant int) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for i := range 9 {
		text := strings.Repeat(fmt.Sprintln("line of file", i), 70_000)
		if i == 4 {
			text = fmt.Sprintln("variant", variant)
		}
		name, made := filepath.Join(dir, fmt.Sprint(i)), time.Unix(1_600_000_000, 0) // which the layer tells
		if err := errors.Join(os.WriteFile(name, []byte(text), 0o644), os.Chtimes(name, made, made)); err != nil {
			return err
		}
	}
	return nil
}

func (w *work) topContext(image string) string { return w.path("top", filepath.Base(image)) }

// topOf is the name of the image that is built on another.
func topOf(image string) string {
	return "crash/on-" + strings.TrimSuffix(filepath.Base(image), ":1") + ":1"
}

// writeTar writes the root file system that is imported: busybox with the files of a context.
func (w *work) writeTar(busybox string) error {
	out, err := os.Create(w.path("import.tar"))
	if err != nil {
		return err
	}
	defer out.Close()
	in, err := os.Open(busybox)
	if err != nil {
		return err
	}
	defer in.Close()
	to := tar.NewWriter(out)
	if err := copyEntries(to, tar.NewReader(in)); err != nil {
		return err
	}
	if err := to.WriteHeader(&tar.Header{Name: "c/", Typeflag: tar.TypeDir, Mode: 0o755}); err != nil {
		return err
	}
	for i := range 60 {
		name := fmt.Sprint("f", i)
		data, err := os.ReadFile(w.path("context0", "c", name))
		if err != nil {
			return err
		}
		if err := to.WriteHeader(&tar.Header{Name: "c/" + name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(data))}); err != nil {
			return err
		}
		if _, err := to.Write(data); err != nil {
			return err
		}
	}
	return to.Close()
}

// build is a build of a variant, up to a stage, whose image is named by both.
func (w *work) build(variant int, target string, options ...string) (name string, command []string) {
	name = fmt.Sprintf("crash/%s%d:1", target, variant)
	return name, slices.Concat([]string{"build", "-q", "-t", name, "--target", target}, options, []string{w.path(fmt.Sprint("context", variant))})
}

// onTop builds on an image that came from elsewhere.
func (w *work) onTop(image, n string) []string {
	return []string{"build", "-q", "-t", topOf(image), "--build-arg", "N=" + n, w.topContext(image)}
}

// operations are those that there are; n makes the last step of some builds run anew.
func (w *work) operations(n string) []operation {
	all := []operation{
		{"load", [][]string{{"load", "-q", "-i", w.path("load.tar")}, w.onTop(loadedImage, n)}, true},
		{"import", [][]string{{"import", w.path("import.tar"), importedImage}, w.onTop(importedImage, n)}, true},
		{"pull", [][]string{{"pull", "-q", w.pulledImage()}, w.onTop(w.pulledImage(), n)}, true},
		{"prune", [][]string{{"system", "prune", "-f"}}, false},
		{"prune -a", [][]string{{"builder", "prune", "-af"}}, false},
	}
	for v := range variants {
		for _, target := range []string{"files", "made", "cached"} {
			_, command := w.build(v, target)
			all = append(all, operation{"build " + target, [][]string{command}, true})
		}
		_, top := w.build(v, "top", "--build-arg", "N="+n)
		all = append(all, operation{"build top", [][]string{top}, true})
		name, again := w.build(v, "made", "--no-cache")
		all = append(all, operation{"build --no-cache", [][]string{again}, true},
			operation{"rmi", [][]string{{"rmi", name}}, false})
		_, made := w.build(v, "made")
		pushed := fmt.Sprintf("%s/crash/pushed%d:1", w.registry, v)
		all = append(all, operation{"push", [][]string{made, {"tag", name, pushed}, {"push", "-q", pushed}}, true})
	}
	return all
}

// names are the images whose contents are known.
func (w *work) names() []string {
	all := []string{loadedImage, topOf(loadedImage), importedImage, topOf(importedImage), w.pulledImage(), topOf(w.pulledImage())}
	for v := range variants {
		for _, target := range []string{"files", "made", "cached", "top"} {
			name, _ := w.build(v, target)
			all = append(all, name)
		}
	}
	return all
}
