package test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
)

// unpacked is an image as archive/tar alone sees it: its layers, in order, put one on top of the other. It is what the
// views are held against.
type unpacked struct {
	files  map[string]unpackedFile
	events map[string][]unpackedEvent
	dirs   map[string]bool // that were a directory at any time
}

// unpackedFile is a path, without its time.
type unpackedFile struct {
	typ      byte
	mode     int64
	uid, gid int
	content  string // digest of a file, target of a symbolic link, numbers of a device
}

// unpackedEvent says that a layer, counted from 1, has a path, or removes it.
type unpackedEvent struct {
	Layer   int
	Removed bool
}

// unpackImage reads what docker save wrote.
func unpackImage(file string) (*unpacked, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	members := map[string][]byte{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		if members[h.Name], err = io.ReadAll(r); err != nil {
			return nil, err
		}
	}
	var manifest []struct{ Layers []string }
	if err := json.Unmarshal(members["manifest.json"], &manifest); err != nil {
		return nil, err
	}
	u := &unpacked{files: map[string]unpackedFile{}, events: map[string][]unpackedEvent{}, dirs: map[string]bool{}}
	for i, name := range manifest[0].Layers {
		if err := u.add(i+1, tar.NewReader(bytes.NewReader(members[name]))); err != nil {
			return nil, fmt.Errorf("layer %d: %w", i+1, err)
		}
	}
	return u, nil
}

// add puts a layer on top: first what its whiteouts remove of the layers below, then what it has.
func (u *unpacked) add(index int, r *tar.Reader) error {
	added := map[string]unpackedFile{}
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		name := path.Clean("/" + h.Name)
		dir, base := path.Split(name)
		if base == ".wh..wh..opq" {
			u.remove(index, strings.TrimSuffix(dir, "/"), false)
			continue
		}
		if hidden, ok := strings.CutPrefix(base, ".wh."); ok {
			u.remove(index, dir+hidden, true)
			continue
		}
		file := unpackedFile{typ: h.Typeflag, mode: h.Mode & 0o7777, uid: h.Uid, gid: h.Gid}
		switch h.Typeflag {
		case tar.TypeReg:
			sum := sha256.New()
			if _, err := io.Copy(sum, r); err != nil {
				return err
			}
			file.content = fmt.Sprintf("%x", sum.Sum(nil))
		case tar.TypeSymlink:
			file.content = h.Linkname
		case tar.TypeLink:
			file = added[path.Clean("/"+h.Linkname)]
		case tar.TypeChar, tar.TypeBlock:
			file.content = fmt.Sprint(h.Devmajor, ":", h.Devminor)
		}
		added[name] = file
	}
	for name, file := range added {
		if before, ok := u.files[name]; ok && before.typ == tar.TypeDir && file.typ != tar.TypeDir {
			u.remove(index, name, false)
		}
	}
	for name, file := range added {
		u.files[name] = file
		u.dirs[name] = u.dirs[name] || file.typ == tar.TypeDir
		u.note(name, unpackedEvent{index, false})
	}
	return nil
}

// remove takes away what is below a path, and the path itself if it is meant too.
func (u *unpacked) remove(index int, name string, self bool) {
	for p := range u.files {
		if strings.HasPrefix(p, name+"/") || self && p == name {
			delete(u.files, p)
			u.note(p, unpackedEvent{index, true})
		}
	}
}

// note appends an event; what a layer removes and has again it has.
func (u *unpacked) note(name string, e unpackedEvent) {
	list := u.events[name]
	if n := len(list); n > 0 && list[n-1].Layer == e.Layer {
		list = list[:n-1]
	}
	u.events[name] = append(list, e)
}

// checkBlame IMAGE ARCHIVE COUNT holds strata blame against the unpacked layers, for random files.
func checkBlame(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: checkblame IMAGE ARCHIVE COUNT")
	}
	u, err := unpackImage(ts.MkAbs(args[1]))
	ts.Check(err)
	count, err := strconv.Atoi(args[2])
	ts.Check(err)
	var names []string
	for name := range u.events {
		if !u.dirs[name] { // blame leaves out that a layer has a directory for the sake of what is in it
			names = append(names, name)
		}
	}
	slices.Sort(names)
	r := rand.New(rand.NewPCG(1, 2))
	// Those that something happened to twice are few, and all of them are asked for.
	r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	slices.SortStableFunc(names, func(a, b string) int { return min(len(u.events[b]), 2) - min(len(u.events[a]), 2) })
	if len(names) < count {
		ts.Fatalf("the image has only %d files", len(names))
	}
	for _, name := range names[:count] {
		ts.Check(ts.Exec("strata", "blame", "--json", args[0], name))
		var blame struct {
			File   *struct{ UID, GID int }
			Events []struct {
				Change string
				Layer  int
			}
		}
		ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &blame))
		var got []unpackedEvent
		for _, e := range blame.Events {
			got = append(got, unpackedEvent{e.Layer, e.Change == "removed"})
		}
		if diff := cmp.Diff(u.events[name], got); diff != "" {
			ts.Fatalf("%s (-unpacked +blame):\n%s", name, diff)
		}
		file, there := u.files[name]
		if there != (blame.File != nil) || there && (blame.File.UID != file.uid || blame.File.GID != file.gid) {
			ts.Fatalf("%s: %+v in the layers, %+v by blame", name, file, blame.File)
		}
	}
}

// checkDiff BEFORE AFTER ARCHIVE ARCHIVE holds strata diff against the unpacked layers of both images, for all paths.
func checkDiff(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: checkdiff BEFORE AFTER ARCHIVE ARCHIVE")
	}
	before, err := unpackImage(ts.MkAbs(args[2]))
	ts.Check(err)
	after, err := unpackImage(ts.MkAbs(args[3]))
	ts.Check(err)
	want := map[string]string{}
	for name, a := range before.files {
		if b, ok := after.files[name]; !ok {
			want[name] = "removed"
		} else if a != b {
			want[name] = "changed"
		}
	}
	for name := range after.files {
		if _, ok := before.files[name]; !ok {
			want[name] = "added"
		}
	}
	ts.Check(ts.Exec("strata", "diff", "--json", args[0], args[1]))
	var d struct {
		Files []struct{ Change, Path string }
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &d))
	got := map[string]string{}
	for _, f := range d.Files {
		got[f.Path] = f.Change
	}
	if len(want) == 0 {
		ts.Fatalf("the two images are the same: nothing was compared")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		ts.Fatalf("(-unpacked +diff):\n%s", diff)
	}
}
