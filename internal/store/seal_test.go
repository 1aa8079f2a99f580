package store

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/store/seal"
)

// addTree is addLayer as a tree, beside which there is no tar.
func addTree(t *testing.T, s *Store, name, contents string) digest.Digest {
	t.Helper()
	d := addLayer(t, s, name, contents)
	if _, err := layerOf(s, d).Tree(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(s.Path(d, "tar")); err != nil {
		t.Fatal(err)
	}
	return d
}

// overwrite flips a bit of a file in place, and gives it the times that it had.
func overwrite(path string) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	time.Sleep(20 * time.Millisecond) // the kernel's clock for times of files ticks every 4 to 10 ms
	_, err = f.WriteAt([]byte{data[len(data)/2] ^ 1}, int64(len(data)/2))
	return errors.Join(err, f.Close(), os.Chtimes(path, st.ModTime(), st.ModTime()))
}

// Whoever mounts a tree finds what was written to it, and has it made again where something else has the bytes.
func TestTreesAreNotTrusted(t *testing.T) {
	for _, test := range []struct {
		name   string
		tar    bool
		damage func(dir string) error
	}{
		{"flipped bit", false, func(dir string) error { return overwrite(dir + "/f") }},
		{"flipped bit beside a tar", true, func(dir string) error { return overwrite(dir + "/f") }},
		{"missing file beside a tar", true, func(dir string) error { return os.Remove(dir + "/f") }},
		{"mode beside a tar", true, func(dir string) error { return os.Chmod(dir+"/f", 0o600) }},
		{"one more file beside a tar", true, func(dir string) error { return os.WriteFile(dir+"/g", nil, 0o644) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			s := open(t, root).WithForms(TreeForms)
			var d digest.Digest
			if test.tar {
				d = addLayer(t, s, "f", "something")
				if _, err := layerOf(s, d).Tree(t.Context()); err != nil {
					t.Fatal(err)
				}
			} else {
				d = addTree(t, s, "f", "something")
			}
			chain := []digest.Digest{d}
			for name, s := range map[string]*Store{"same process": s, "another": open(t, root).WithForms(TreeForms)} {
				lowers, err := s.Lowers(t.Context(), chain, nil)
				if err == nil {
					err = lowers.Trusted(t.Context())
				}
				if err != nil {
					t.Errorf("as it is, %s: %v", name, err)
				}
			}
			if err := test.damage(s.Path(d, "fs")); err != nil {
				t.Fatal(err)
			}
			s = open(t, root).WithForms(TreeForms)
			lowers, err := s.Lowers(t.Context(), chain, nil)
			if err == nil {
				err = lowers.Trusted(t.Context())
			}
			if !errors.Is(err, ErrUnsealed) {
				t.Errorf("damaged: %v", err)
			}
			err = s.Mend(t.Context(), chain)
			if gone := (*UnavailableError)(nil); !test.tar {
				if !errors.As(err, &gone) {
					t.Errorf("nothing else has the bytes: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := readTree(t, s, d); err != nil || len(s.Healed()) != 1 {
				t.Errorf("%v, and it says %q", err, s.Healed())
			}
			if names, err := os.ReadDir(s.Path(d, "fs")); err != nil || len(names) != 1 {
				t.Errorf("the tree has %v, %v", names, err)
			}
			s = open(t, root).WithForms(TreeForms)
			if lowers, err = s.Lowers(t.Context(), chain, nil); err == nil {
				err = lowers.Trusted(t.Context())
			}
			if err != nil {
				t.Errorf("made again: %v", err)
			}
		})
	}
}

// A copy of a store is verified once, and sealed.
func TestCopiedStore(t *testing.T) {
	root := t.TempDir()
	s := open(t, root)
	d := addTree(t, s, "f", "something")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "copy")
	if out, err := exec.Command("cp", "-a", root, copied).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s = open(t, copied)
	before := seal.Read(s.Path(d, "seal"))
	if err := readTree(t, s, d); err != nil {
		t.Fatal(err)
	}
	after := seal.Read(s.Path(d, "seal"))
	if len(s.Healed()) != 0 || before["toc"] != after["toc"] || before["fs"] == after["fs"] {
		t.Errorf("it says %q; sealed before: %v, and after: %v", s.Healed(), before, after)
	}
	lowers, err := open(t, copied).Lowers(t.Context(), []digest.Digest{d}, nil)
	if err == nil {
		err = lowers.Trusted(t.Context())
	}
	if err != nil {
		t.Error(err)
	}
}

// Layers that were swapped, with their seals, are none.
func TestSwappedLayers(t *testing.T) {
	for _, form := range []string{"", "fs", "toc"} {
		root := t.TempDir()
		s := open(t, root)
		a, b := addTree(t, s, "f", "something"), addTree(t, s, "f", "anything!")
		if err := unix.Renameat2(unix.AT_FDCWD, s.Path(a, form), unix.AT_FDCWD, s.Path(b, form), unix.RENAME_EXCHANGE); err != nil {
			t.Fatal(err)
		}
		s = open(t, root)
		err := readTOC(t, s, a)
		if err == nil {
			err = readTree(t, s, a)
		}
		if gone := (*UnavailableError)(nil); !errors.As(err, &gone) {
			t.Errorf("%q: %v", form, err)
		}
		if addTree(t, s, "f", "something"); readTree(t, s, a) != nil {
			t.Errorf("%q, made again: %v", form, readTree(t, s, a))
		}
	}
}

// A file that is read out of a damaged layer is not given out: it is read from the other form, or there is an error.
func TestFilesOfDamagedLayers(t *testing.T) {
	for _, test := range []struct {
		name   string
		damage func(s *Store, d digest.Digest) error
		err    string
	}{
		{"nothing", func(*Store, digest.Digest) error { return nil }, ""},
		{"the tar", func(s *Store, d digest.Digest) error { return overwriteIn(s.Path(d, "tar"), "something") }, ""},
		{"the tree", func(s *Store, d digest.Digest) error { return overwrite(s.Path(d, "fs/f")) }, ""},
		{"the tree without a tar", func(s *Store, d digest.Digest) error {
			return errors.Join(os.Remove(s.Path(d, "tar")), overwrite(s.Path(d, "fs/f")))
		}, "holds other bytes; it is set aside: build the image again, or pull it"},
		{"the tree's file is missing", func(s *Store, d digest.Digest) error {
			return errors.Join(os.Remove(s.Path(d, "tar")), os.Remove(s.Path(d, "fs/f")))
		}, "it is set aside: build the image again, or pull it"},
		{"the table of contents", func(s *Store, d digest.Digest) error { return overwrite(s.Path(d, "toc")) }, ""},
		{"no table of contents", func(s *Store, d digest.Digest) error { return os.Remove(s.Path(d, "toc")) }, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			s := open(t, root)
			d := addLayer(t, s, "f", "something")
			_, err := layerOf(s, d).Tree(t.Context())
			toc, err2 := layerOf(s, d).TOC(t.Context())
			if err := errors.Join(err, err2, test.damage(s, d)); err != nil {
				t.Fatal(err)
			}
			s = open(t, root)
			r, err := layerOf(s, d).OpenFile(t.Context(), toc.Lookup("f"))
			var data []byte
			if err == nil {
				data, err = io.ReadAll(r)
				r.Close()
			}
			if test.err == "" && (err != nil || string(data) != "something") {
				t.Errorf("read %q, %v", data, err)
			}
			if damaged := (*DamagedError)(nil); test.err != "" && (!errors.As(err, &damaged) || !strings.HasSuffix(err.Error(), test.err)) {
				t.Errorf("read %q, %v", data, err)
			}
		})
	}
}

// A small file is read out of a tar that is not as it was sealed without all of the tar being verified, whatever else
// is wrong with it; what is wrong with the file itself is found.
func TestFilesOfUnsealedTars(t *testing.T) {
	large := strings.Repeat("large ", 400_000)
	for _, test := range []struct{ name, damaged, read, want string }{
		{"nothing", "", "f", "something"},
		{"another file", "anything", "f", "something"},
		{"the file", "something", "f", ""},
		{"another, of a large file", "something", "large", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			s := open(t, root)
			d := addFiles(t, s, map[string]string{"f": "something", "g": "anything", "large": large})
			toc, err := layerOf(s, d).TOC(t.Context())
			if err == nil {
				err = os.Chtimes(s.Path(d, "tar"), time.Now(), time.Now())
			}
			if err == nil && test.damaged != "" {
				err = overwriteIn(s.Path(d, "tar"), test.damaged)
			}
			if err != nil {
				t.Fatal(err)
			}
			before := seal.Read(s.Path(d, "seal"))
			s = open(t, root)
			r, err := layerOf(s, d).OpenFile(t.Context(), toc.Lookup(test.read))
			if gone := (*UnavailableError)(nil); test.want == "" {
				if !errors.As(err, &gone) {
					t.Errorf("a damaged tar is read: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			data, err := io.ReadAll(r)
			part := make([]byte, 4)
			_, partErr := r.(io.ReaderAt).ReadAt(part, 2)
			if string(data) != test.want || string(part) != test.want[2:6] || err != nil || partErr != nil {
				t.Errorf("read %q and %q: %v, %v", data, part, err, partErr)
			}
			if after := seal.Read(s.Path(d, "seal")); after["tar"] != before["tar"] || len(s.Healed()) != 0 {
				t.Errorf("all of the tar was verified: %v, %q", after, s.Healed())
			}
		})
	}
}

// A large file of such a tar can be read in parts at once; it is compared with its digest before.
func TestPartsOfUnsealedTars(t *testing.T) {
	large := "something " + strings.Repeat("large ", 400_000)
	for _, damaged := range []string{"", "anything", "something"} {
		root := t.TempDir()
		s := open(t, root)
		d := addFiles(t, s, map[string]string{"f": "contents", "g": "anything", "large": large})
		toc, err := layerOf(s, d).TOC(t.Context())
		if err == nil {
			err = os.Chtimes(s.Path(d, "tar"), time.Now(), time.Now())
		}
		if err == nil && damaged != "" {
			err = overwriteIn(s.Path(d, "tar"), damaged)
		}
		if err != nil {
			t.Fatal(err)
		}
		before := seal.Read(s.Path(d, "seal"))
		s = open(t, root)
		entries := []*layer.Entry{toc.Lookup("f"), toc.Lookup("large")}
		l := layerOf(s, d)
		for _, whole := range []bool{false, true} {
			err = l.ReadFiles(t.Context(), entries, func(e *layer.Entry, r io.Reader) error {
				if whole {
					n, err := io.Copy(io.Discard, r)
					if n != e.Size {
						t.Errorf("%s: %d bytes were read", e.Path, n)
					}
					return err
				}
				part := make([]byte, 5)
				for offset, want := range map[int64]map[string]string{
					0: {"f": "conte", "large": "somet"}, e.Size - 5: {"f": "tents", "large": "arge "},
				} {
					_, err := r.(io.ReaderAt).ReadAt(part, offset)
					if want := want[e.Path]; string(part) != want || err != nil && err != io.EOF {
						t.Errorf("%s: read %q, %v", e.Path, part, err)
					}
				}
				return nil
			})
			if gone := (*UnavailableError)(nil); errors.As(err, &gone) != (damaged == "something") || damaged != "something" && err != nil {
				t.Errorf("damaged: %q, and the error is %v", damaged, err)
			}
			if after := seal.Read(s.Path(d, "seal")); damaged != "something" && after["tar"] != before["tar"] {
				t.Errorf("damaged: %q, and all of the tar was verified", damaged)
			}
		}
	}
}

// overwriteIn changes a byte of some text in a file.
func overwriteIn(path, text string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	other := "S" + text[1:]
	return os.WriteFile(path, bytes.Replace(data, []byte(text), []byte(other), 1), 0o600)
}

// The table of contents of a layer that was only looked at is none when somebody wrote to it: it is read again.
func TestTOCsThatWereLookedAtAreNotTrusted(t *testing.T) {
	from := open(t, t.TempDir())
	d := addLayer(t, from, "f", "contents")
	root := t.TempDir()
	for name, damage := range map[string]func(path string) error{
		"none":      func(string) error { return nil },
		"flipped":   overwrite,
		"truncated": func(path string) error { return os.Truncate(path, 10) },
		"missing":   os.Remove,
		"another":   func(path string) error { return os.WriteFile(path+".seal", []byte("toc 00\n"), 0o600) },
	} {
		s, err := Open(root)
		if err != nil {
			t.Fatal(err)
		}
		tar, err := os.Open(from.Path(d, "tar"))
		if err != nil {
			t.Fatal(err)
		}
		err = errors.Join(s.Scan(t.Context(), d, tar), tar.Close(), s.Close(), damage(s.TOCPath(d)))
		if err != nil {
			t.Fatal(err)
		}
		if s, err = Open(root); err != nil {
			t.Fatal(err)
		}
		if has := s.HasTOC(d); has != (name == "none") {
			t.Errorf("%s: it is known: %v", name, has)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
