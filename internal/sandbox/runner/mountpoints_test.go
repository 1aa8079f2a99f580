package runner

import (
	"fmt"
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

// A step may put anything in the place of a directory that a mount point was made in. That is its result, and what was made for the
// sandbox goes from where it is now, if it can still be found, as with BuildKit.
func TestMountPointsWhoseParentIsReplaced(t *testing.T) {
	for _, test := range []struct {
		name, script string
		want         []string
		next         string // the error of the next step
	}{
		{"absolute link", "mv /etc /moved; ln -s /moved /etc", []string{"etc", "moved/"}, "<nil>"},
		{"relative link", "mv /etc /moved; ln -s moved /etc", []string{"etc", "moved/"}, "<nil>"},
		{"link out of the root", "mv /etc /moved; ln -s ../../../../../../tmp /etc", []string{"etc", "moved/", "moved/hostname", "moved/hosts", "moved/resolv.conf"}, "<nil>"},
		{"link to itself", "mv /etc /moved; ln -s etc /etc", []string{"etc", "moved/", "moved/hostname", "moved/hosts", "moved/resolv.conf"}, "mount point /etc/resolv.conf: the symbolic links of the root file system lead in a circle"},
		{"link to nothing", "mv /etc /moved; ln -s /nothing /etc", []string{"etc", "moved/", "moved/hostname", "moved/hosts", "moved/resolv.conf"}, "<nil>"},
		{"file", "mv /etc /moved; echo x >/etc", []string{"etc", "moved/", "moved/hostname", "moved/hosts", "moved/resolv.conf"}, "mount point /etc/resolv.conf: something on its path is no directory in the root file system"},
		{"other directory", "mv /etc /moved; mkdir /etc; echo x >/etc/hosts", []string{"etc/", "etc/hosts", "moved/", "moved/hostname", "moved/hosts", "moved/resolv.conf"}, "<nil>"},
		{"nothing", "mv /etc /moved", []string{"moved/", "moved/hostname", "moved/hosts", "moved/resolv.conf"}, "<nil>"},
		{"of a bind mount", "mv /a /moved; ln -s /moved /a", []string{"a", "moved/"}, "<nil>"},
		{"of a file from memory", "mv /run /moved; ln -s /moved/. /run", []string{"moved/", "run"}, "<nil>"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := busyboxRoot(t, nil)
			spec := Spec{
				Binds: []Bind{{Source: t.TempDir(), Target: "/a/b/c"}},
				Files: []File{{Target: "/run/secrets/s", Data: []byte("secret"), Mode: 0o400}},
			}
			if out, code := r.sh(t, spec, test.script); code != 0 {
				t.Fatal(out)
			}
			expectTree(t, r.upper, test.want)
			if _, _, err := r.run(t, Spec{Args: []string{"/bin/true"}}); fmt.Sprint(err) != test.next {
				t.Errorf("the next step: %v, want %q", err, test.next)
			}
		})
	}
}

// What is removed through a link leaves the times of the directory that it was in.
func TestMountPointsRestoreTimesBehindLinks(t *testing.T) {
	r := busyboxRoot(t, nil)
	if out, code := r.sh(t, Spec{}, "mv /etc /moved; ln -s /moved /etc; touch -d @1000000000 /moved"); code != 0 {
		t.Fatal(out)
	}
	info, err := os.Stat(filepath.Join(r.upper, "moved"))
	must(t, err)
	if got := info.ModTime().Unix(); got != 1_000_000_000 {
		t.Errorf("the directory's time is %d", got)
	}
}
