package store

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/store/kept"
)

// A check finds damaged records, and what is kept to save time; with repair, it is gone afterwards and the store sound.
func TestCheckRecordsAndKept(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Fatal("git is needed")
	}
	key, bytes := digest.FromString("key"), digest.FromString("bytes")
	for _, test := range []struct {
		kind     string
		readData bool // it shows only where the bytes are read
		damage   func(t *testing.T, s *Store) error
	}{
		{"record", false, func(_ *testing.T, s *Store) error {
			_, err := s.db.Exec(`UPDATE records SET data = replace(data, '"a":1', '"a":2')`)
			return err
		}},
		{"context copy", false, func(_ *testing.T, s *Store) error {
			return os.WriteFile(filepath.Join(s.root, "laid", "copy", "fs", "f"), []byte("g"), 0o644)
		}},
		{"listing", false, func(_ *testing.T, s *Store) error {
			return os.Truncate(filepath.Join(s.root, "listings", key.Encoded()), 5)
		}},
		{"download", true, func(_ *testing.T, s *Store) error {
			return os.WriteFile(filepath.Join(s.root, "downloads", "url", bytes.Encoded()), []byte("bytez"), 0o600)
		}},
		{"git repository", true, func(t *testing.T, s *Store) error {
			objects, err := filepath.Glob(filepath.Join(s.root, "git", "remote", "repository", "objects", "??", "*"))
			if err != nil || len(objects) < 2 {
				t.Fatalf("%d objects, %v", len(objects), err)
			}
			data, err := os.ReadFile(objects[0])
			return errors.Join(err, os.Chmod(objects[1], 0o600), os.WriteFile(objects[1], data, 0o600))
		}},
	} {
		t.Run(test.kind, func(t *testing.T) {
			root := t.TempDir()
			s := open(t, root)
			keepSome(t, s, key, bytes)
			if err := s.Close(); err != nil { // it uses the copy no more
				t.Fatal(err)
			}
			s = open(t, root)
			check := func(o CheckOptions) *CheckReport {
				t.Helper()
				r, err := s.Check(t.Context(), o)
				if err != nil {
					t.Fatal(err)
				}
				return r
			}
			if r := check(CheckOptions{ReadData: true}); len(r.Problems) != 0 || r.Records != 1 {
				t.Fatalf("an undamaged store: %+v", r)
			}
			if err := test.damage(t, s); err != nil {
				t.Fatal(err)
			}
			if r := check(CheckOptions{}); (len(r.Problems) == 1) == test.readData {
				t.Errorf("without reading data: %+v", r.Problems)
			}
			r := check(CheckOptions{ReadData: true, Repair: true})
			if len(r.Problems) != 1 || r.Problems[0].Kind != test.kind || !r.Problems[0].Repaired {
				t.Errorf("with repair: %+v", r.Problems)
			}
			if r := check(CheckOptions{ReadData: true}); len(r.Problems) != 0 {
				t.Errorf("after the repair: %+v", r.Problems)
			}
		})
	}
}

// keepSome puts a record and one of each that is kept into the store.
func keepSome(t *testing.T, s *Store, key, bytes digest.Digest) {
	t.Helper()
	toc, err := layer.NewTOC([]*layer.Entry{{Path: "f", Type: layer.File, Size: 1, Mode: 0o644}})
	if err != nil {
		t.Fatal(err)
	}
	copied := t.TempDir()
	err = errors.Join(os.Mkdir(filepath.Join(copied, "fs"), 0o755), os.WriteFile(filepath.Join(copied, "fs", "f"), []byte("f"), 0o644))
	if err == nil {
		_, err = s.KeepContextCopy("copy", &kept.Copy{TOC: toc, Times: []int64{1}}, copied)
	}
	err = errors.Join(err, s.PutRecord(Record{Key: key, Data: []byte(`{"a":1}`)}), s.PutListing(key, toc))
	for kind, name := range map[string]string{"downloads": "url", "git": "remote"} {
		_, failed := s.KeepSource(kind, name)
		err = errors.Join(err, failed)
	}
	err = errors.Join(err, os.WriteFile(filepath.Join(s.root, "downloads", "url", bytes.Encoded()), []byte("bytes"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	repository := filepath.Join(s.root, "git", "remote", "repository")
	work := t.TempDir()
	script := `git init -q . && echo f > f && git add f && git -c user.name=a -c user.email=a@example.org commit -qm a &&
		mkdir "$1" && cp -r .git/. "$1" && git --git-dir="$1" config core.bare true`
	cmd := exec.Command("sh", "-ec", script, "sh", repository)
	cmd.Dir = work
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
}
