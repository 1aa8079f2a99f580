package runner

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// expectTree compares the paths under dir, directories with a slash at the end.
func expectTree(t *testing.T, dir string, want []string) {
	t.Helper()
	var got []string
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if d.IsDir() {
			name += "/"
		}
		got = append(got, name)
		return err
	}))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", dir, diff)
	}
}

// What a step leaves in an overlay's upper directory is what the step did, and no mount point.
func TestMountPointsLeaveNoTrace(t *testing.T) {
	full := map[string]string{"etc/resolv.conf": "", "etc/hosts": "", "etc/hostname": "", "proc/.": "", "sys/.": "", "dev/.": ""}
	for _, test := range []struct {
		name   string
		files  map[string]string
		script string
		want   []string
	}{
		{"nothing in the image", nil, "true", nil},
		{"an image with all of them", full, "true", nil},
		// The overlay copied the directory up; nothing in it, nor its times, differ from the layer below.
		{"an image with /etc", map[string]string{"etc/passwd": passwd}, "true", []string{"etc/"}},
		{"used", nil, "echo x > /etc/mine; mkdir /new", []string{"etc/", "etc/mine", "new/"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			files := map[string]string{}
			r := busyboxRoot(t, nil)
			for name, text := range test.files {
				if filepath.Base(name) != "." {
					files[name] = text
				}
			}
			r = busyboxRoot(t, files)
			if len(test.files) > 2 {
				for _, dir := range []string{"proc", "sys", "dev"} {
					must(t, os.Mkdir(filepath.Join(r.lower, dir), 0o755))
				}
			}
			if out, code := r.sh(t, Spec{}, test.script); code != 0 {
				t.Fatal(out)
			}
			expectTree(t, r.upper, test.want)
		})
	}
}

func TestMountPointsRestoreTimes(t *testing.T) {
	old := time.Unix(1_000_000_000, 123)
	for _, test := range []struct {
		name, script string
		restored     bool
	}{
		{"only mount points were made", "true", true},
		{"the step wrote too", "sleep 0.01; touch /etc/mine", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := busyboxRoot(t, map[string]string{"etc/passwd": passwd})
			for _, dir := range []string{filepath.Join(r.lower, "etc"), r.upper} {
				must(t, os.Chtimes(dir, old, old))
			}
			if out, code := r.sh(t, Spec{}, test.script); code != 0 {
				t.Fatal(out)
			}
			for dir, want := range map[string]bool{"etc": test.restored, "": true} {
				info, err := os.Stat(filepath.Join(r.merged, dir))
				must(t, err)
				if info.ModTime().Equal(old) != want {
					t.Errorf("/%s: time %v, want the old one: %v", dir, info.ModTime(), want)
				}
			}
		})
	}
}

// A link in the image may point anywhere, as to a resolv.conf that only a running system has.
func TestMountPointsBehindLinks(t *testing.T) {
	for _, target := range []string{"/run/systemd/stub.conf", "../run/stub.conf", "../../../../escape", "real"} {
		t.Run(target, func(t *testing.T) {
			r := busyboxRoot(t, map[string]string{"etc/real": ""})
			must(t, os.Symlink(target, filepath.Join(r.lower, "etc/resolv.conf")))
			want, err := os.ReadFile("/etc/resolv.conf")
			must(t, err)
			if got, _ := r.sh(t, Spec{}, "cat /etc/resolv.conf"); got != string(want) {
				t.Errorf("got %q, want %q", got, want)
			}
			expectTree(t, r.upper, []string{"etc/"})
		})
	}
}
