package remote_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/strata-build/strata/internal/builder/source/remote"
	"github.com/strata-build/strata/internal/builder/source/remote/remotetest"
	"github.com/strata-build/strata/internal/event"
)

// rewrite changes the bytes of a file in place, and gives it the times that it had.
func rewrite(t *testing.T, path string, change func([]byte)) {
	t.Helper()
	st, err := os.Stat(path)
	check(t, err)
	data, err := os.ReadFile(path)
	check(t, err)
	change(data)
	check(t, os.Chmod(path, 0o600)) // git's objects are read-only
	check(t, os.WriteFile(path, data, 0o600))
	check(t, os.Chmod(path, st.Mode()))
	check(t, os.Chtimes(path, st.ModTime(), st.ModTime()))
}

// kept are the paths in the store that match a pattern.
func kept(t *testing.T, root, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(root, pattern))
	check(t, err)
	if len(found) == 0 {
		t.Fatalf("the store has no %s", pattern)
	}
	return found
}

// What somebody did to kept bytes, or to what is known of them, is seen; they are fetched again.
func TestDamagedDownloads(t *testing.T) {
	old := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	flip := func(path string) { rewrite(t, path, func(b []byte) { b[len(b)/2] ^= 1 }) }
	for name, damage := range map[string]func(root string){
		"bytes flipped": func(root string) { flip(kept(t, root, "downloads/*/[0-9a-f][0-9a-f]*")[0]) },
		"bytes zeroed": func(root string) {
			rewrite(t, kept(t, root, "downloads/*/[0-9a-f][0-9a-f]*")[0], func(b []byte) { clear(b) })
		},
		"a later date": func(root string) {
			rewrite(t, kept(t, root, "downloads/*/answer")[0], func(b []byte) {
				copy(b[bytes.Index(b, []byte("2020")):], "2029")
			})
		},
		"folders swapped": func(root string) {
			dirs := kept(t, root, "downloads/*")
			check(t, os.Rename(dirs[0], dirs[0]+".x"))
			check(t, os.Rename(dirs[1], dirs[0]))
			check(t, os.Rename(dirs[0]+".x", dirs[1]))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newSite(t)
			body := strings.Repeat("right ", 1000)
			w.server.Set("/f", remotetest.Answer{Body: body, Modified: old})
			w.server.Set("/g", remotetest.Answer{Body: strings.ToUpper(body), Modified: old})
			for _, path := range []string{"/f", "/g"} {
				_, _, err := w.get(path, "")
				check(t, err)
			}
			damage(w.store.Root())
			files := map[string]string{"/f": body, "/g": strings.ToUpper(body)}
			if name == "a later date" { // by which what the server has since would count as known
				for path := range files {
					files[path] = "newer"
					w.server.Set(path, remotetest.Answer{Body: "newer", Modified: old.AddDate(1, 0, 0)})
				}
			}
			for path, want := range files {
				if got, _, err := w.get(path, ""); err != nil || got != want {
					t.Errorf("%s: %.10q, %v", path, got, err)
				}
			}
		})
	}
}

// A bit that flipped below the file system, which no seal shows, is seen by who distrusts what is kept.
func TestDistrust(t *testing.T) {
	w := newSite(t)
	w.server.Set("/f", remotetest.Answer{Body: "right", ETag: `"1"`})
	_, _, err := w.get("/f", "")
	check(t, err)
	w.server.Requests()
	f := remote.New(w.store)
	f.Distrust = true
	defer f.Close()
	if _, err := f.File(context.Background(), w.http.URL+"/f", ""); err != nil {
		t.Error(err)
	}
	if got := w.server.Requests(); len(got) != 1 || !strings.HasPrefix(got[0], "GET /f 304") {
		t.Errorf("sound bytes were not used: %q", got)
	}
}

// A download that broke off goes on with bytes that are as they were written only, and ends with the right ones.
func TestDamagedPartial(t *testing.T) {
	body := strings.Repeat("0123456789", 100_000)
	for name, damage := range map[string]func(path string){
		"none":      func(string) {},
		"flipped":   func(path string) { rewrite(t, path, func(b []byte) { b[100] ^= 1 }) },
		"zeroed":    func(path string) { rewrite(t, path, func(b []byte) { clear(b) }) },
		"truncated": func(path string) { check(t, os.Truncate(path, 100_000)) },
		"missing":   func(path string) { check(t, os.Remove(path)) },
		"longer":    func(path string) { check(t, os.Truncate(path, 700_000)) },
		"of":        func(path string) { rewrite(t, path+"-of", func(b []byte) { b[len(b)/2] ^= 1 }) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newSite(t)
			w.server.Set("/f", remotetest.Answer{Body: body, ETag: `"1"`, Cut: 400_000})
			ctx, cancel := context.WithCancel(context.Background())
			f := remote.New(w.store)
			f.Events = listener(func(e event.Event) {
				if p, ok := e.(event.Progress); ok && p.Current > 200_000 {
					cancel()
				}
			})
			if _, err := f.File(ctx, w.http.URL+"/f", ""); err == nil {
				t.Fatal("it was not broken off")
			}
			damage(kept(t, w.store.Root(), "downloads/*/partial")[0])
			if got, _, err := w.get("/f", ""); err != nil || got != body {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
}

// git itself compares no object with its name when it lays out a commit.
func TestDamagedMirror(t *testing.T) {
	for name, damage := range map[string]func(dir string){
		"pack flipped": func(dir string) {
			rewrite(t, kept(t, dir, "objects/pack/*.pack")[0], func(b []byte) { b[len(b)/2] ^= 1 })
		},
		"pack missing": func(dir string) { check(t, os.Remove(kept(t, dir, "objects/pack/*.pack")[0])) },
		"pack of another": func(dir string) {
			other := filepath.Join(filepath.Dir(filepath.Dir(dir)), "other")
			check(t, os.MkdirAll(other, 0o755))
			check(t, exec.Command("git", "init", "-q", "--bare", filepath.Join(other, "repository")).Run())
			check(t, os.RemoveAll(filepath.Join(dir, "objects")))
			check(t, os.Rename(filepath.Join(other, "repository/objects"), filepath.Join(dir, "objects")))
		},
		// An object of another content under the name of one: git lays it out without a word.
		"object of another": func(dir string) {
			script := `blob=$(git rev-parse refs/strata/$(ls refs/strata | head -1):file)
				git unpack-objects -q <"$(mv objects/pack/*.pack . && ls *.pack)"; rm -f objects/pack/*
				new=$(echo wrong | git hash-object -w --stdin)
				rm -f objects/$(echo $blob | cut -c1-2)/$(echo $blob | cut -c3-)
				cp objects/$(echo $new | cut -c1-2)/$(echo $new | cut -c3-) objects/$(echo $blob | cut -c1-2)/$(echo $blob | cut -c3-)`
			cmd := exec.Command("sh", "-ec", script)
			cmd.Dir = dir
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		},
		"config truncated": func(dir string) { check(t, os.Truncate(filepath.Join(dir, "config"), 10)) },
		"HEAD missing":     func(dir string) { check(t, os.Remove(filepath.Join(dir, "HEAD"))) },
		"seal missing":     func(dir string) { check(t, os.Remove(dir+".seal")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			b.repository("r.git", twoCommits)
			_, want, err := b.checkout(remote.New(b.store), "r.git", remote.Tree{})
			check(t, err)
			damage(kept(t, b.store.Root(), "git/*/repository")[0])
			if _, got, err := b.checkout(remote.New(b.store), "r.git", remote.Tree{}); err != nil || len(got) != len(want) {
				t.Errorf("%v, %v", got, err)
			} else {
				for name := range want {
					if got[name] != want[name] {
						t.Errorf("%s: %q, not %q", name, got[name], want[name])
					}
				}
			}
		})
	}
}
