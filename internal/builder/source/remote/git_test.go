package remote_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/strata-build/strata/internal/builder/source/address"
	"github.com/strata-build/strata/internal/builder/source/remote"
	"github.com/strata-build/strata/internal/builder/source/remote/remotetest"
	"github.com/strata-build/strata/internal/store"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// bed has a store, and a server of git repositories.
type bed struct {
	*testing.T
	store *store.Store
	git   *remotetest.Git
	url   string
}

func newBed(t *testing.T) *bed {
	s, err := store.Open(t.TempDir())
	check(t, err)
	t.Cleanup(func() { check(t, s.Close()) })
	b := &bed{T: t, store: s, git: &remotetest.Git{Dir: t.TempDir()}}
	server := httptest.NewServer(b.git)
	t.Cleanup(server.Close)
	b.url = server.URL
	return b
}

func (b *bed) repository(name, script string) string {
	dir := filepath.Join(b.git.Dir, name)
	check(b.T, os.Mkdir(dir, 0o755))
	check(b.T, remotetest.Make(dir, strings.ReplaceAll(script, "$URL", b.url)))
	return dir
}

func (b *bed) source(text string) *address.Source {
	s, err := address.Parse(b.url + "/" + text)
	check(b.T, err)
	return s
}

// checkout gives the files of a checkout with their contents.
func (b *bed) checkout(f *remote.Fetcher, text string, tree remote.Tree) (string, map[string]string, error) {
	c, err := f.Commit(context.Background(), b.source(text).Git)
	if err != nil {
		return "", nil, err
	}
	dir := filepath.Join(b.TempDir(), "checkout")
	check(b.T, os.Mkdir(dir, 0o755))
	if err := f.Checkout(context.Background(), c, tree, dir); err != nil {
		return "", nil, err
	}
	files := map[string]string{}
	check(b.T, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, _ := filepath.Rel(dir, p)
		if strings.HasPrefix(name, ".git/") {
			return nil
		}
		if d.Type() == fs.ModeSymlink {
			link, err := os.Readlink(p)
			files[name] = "→ " + link
			return err
		}
		data, err := os.ReadFile(p)
		files[name] = string(data)
		return err
	}))
	return dir, files, nil
}

const twoCommits = `
mkdir -p sub/dir
echo one >file; echo sub >sub/dir/f; ln -s file link; printf '#!/bin/sh\n' >run; chmod 755 run
git add -A; git commit -qm 1; git tag v1; git tag -a -m annotated v1a
git checkout -q -b side; echo side >file; git commit -qam side; git checkout -q main
echo two >file; git commit -qam 2
`

func TestRefs(t *testing.T) {
	b := newBed(t)
	dir := b.repository("r.git", twoCommits)
	first, err := os.ReadFile(filepath.Join(dir, ".git/refs/tags/v1"))
	check(t, err)
	commit := strings.TrimSpace(string(first))
	f := remote.New(b.store)
	for ref, want := range map[string]string{
		"": "two", "#main": "two", "#v1": "one", "#v1a": "one", "#side": "side", "#refs/heads/side": "side", "#heads/side": "side",
		"?tag=v1a": "one", "?branch=side": "side", "?ref=side": "side", "#" + commit: "one", "?tag=v1&commit=" + commit[:7]: "one",
		"?fetch-by-commit&commit=" + commit: "one",
	} {
		_, files, err := b.checkout(f, "r.git"+ref, remote.Tree{})
		if err != nil {
			t.Errorf("%q: %v", ref, err)
			continue
		}
		if got := strings.TrimSpace(files["file"]); got != want {
			t.Errorf("%q: file is %q, want %q", ref, got, want)
		}
		if files["link"] != "→ file" || files["sub/dir/f"] != "sub\n" {
			t.Errorf("%q: %v", ref, files)
		}
	}
	_, files, err := b.checkout(f, "r.git#v1:sub/dir", remote.Tree{})
	if err != nil || len(files) != 1 || files["f"] != "sub\n" {
		t.Errorf("subdirectory: %v, %v", files, err)
	}
	for ref, want := range map[string]string{
		"#none": "does not contain ref none", "#v1:nowhere": "no directory nowhere", "#v1:link": "not a directory",
		"?tag=v1&commit=abc": "expected checksum to match abc", "#" + strings.Repeat("0", 40): "no commit",
	} {
		if _, _, err := b.checkout(f, "r.git"+ref, remote.Tree{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", ref, err, want)
		}
	}
	if _, _, err := b.checkout(f, "none.git", remote.Tree{}); err == nil || !strings.Contains(err.Error(), "see whether the address is right") {
		t.Errorf("no repository: %v", err)
	}
}

// What did not change moves nothing, and what changed moves little.
func TestUnchangedRepositoryMovesNothing(t *testing.T) {
	b := newBed(t)
	dir := b.repository("r.git", twoCommits)
	_, _, err := b.checkout(remote.New(b.store), "r.git", remote.Tree{})
	check(t, err)
	if b.git.Packs() == 0 {
		t.Fatal("the first checkout fetched nothing")
	}
	b.git.Requests()
	_, _, err = b.checkout(remote.New(b.store), "r.git", remote.Tree{})
	check(t, err)
	if n := b.git.Packs(); n != 0 {
		t.Errorf("an unchanged repository was fetched: %q", b.git.Requests())
	}
	b.git.Requests()
	check(t, remotetest.Change(dir, "echo three >file; git commit -qam 3"))
	f := remote.New(b.store)
	_, files, err := b.checkout(f, "r.git", remote.Tree{})
	if err != nil || files["file"] != "three\n" {
		t.Errorf("after a commit: %v, %v", files, err)
	}
	b.git.Requests()
	if _, err := f.Commit(context.Background(), b.source("r.git").Git); err != nil || len(b.git.Requests()) > 0 {
		t.Errorf("the server was asked twice in a build: %v", err)
	}
}

func TestSubmodules(t *testing.T) {
	if testing.Short() {
		t.Skip("needs four seconds: run without -short")
	}
	b := newBed(t)
	b.repository("inner.git", "echo inner >i; git add -A; git commit -qm i")
	b.repository("middle.git", "echo middle >m; git submodule --quiet add ../inner.git deep/inner 2>/dev/null || git submodule --quiet add $URL/inner.git deep/inner; git config -f .gitmodules submodule.deep/inner.url ../inner.git; git add -A; git commit -qm m")
	b.repository("outer.git", "echo outer >o; git submodule --quiet add $URL/middle.git mid; git add -A; git commit -qm o")
	f := remote.New(b.store)
	for name, tree := range map[string]remote.Tree{"own": {Submodules: true}, "kept": {Submodules: true, KeepGitDir: true}} {
		dir, files, err := b.checkout(f, "outer.git", tree)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if files["o"] != "outer\n" || files["mid/m"] != "middle\n" || files["mid/deep/inner/i"] != "inner\n" {
			t.Errorf("%s: %v", name, files)
		}
		_, err = os.Stat(filepath.Join(dir, "mid/.git"))
		if there := err == nil; there != tree.KeepGitDir {
			t.Errorf("%s: mid/.git is there: %v", name, there)
		}
	}
	_, files, err := b.checkout(f, "outer.git", remote.Tree{})
	if err != nil || files["mid/m"] != "" {
		t.Errorf("without submodules: %v, %v", files, err)
	}
	b.git.Requests()
	_, _, err = b.checkout(remote.New(b.store), "outer.git", remote.Tree{Submodules: true})
	if err != nil || b.git.Packs() > 0 {
		t.Errorf("unchanged submodules were fetched again: %v, %q", err, b.git.Requests())
	}
}

// A server of files, "dumb" http, gives no repository at a depth, also no submodule of one that is kept with its .git.
func TestSubmodulesOfDumbServer(t *testing.T) {
	b := newBed(t)
	inner := b.repository("inner.git", "echo inner >i; git add -A; git commit -qm i")
	outer := b.repository("outer.git", "git submodule --quiet add $URL/inner.git sub; git config -f .gitmodules submodule.sub.url ../inner.git; git add -A; git commit -qm o")
	for _, dir := range []string{inner, outer} {
		check(t, remotetest.Change(dir, "git update-server-info"))
	}
	files := http.FileServer(http.Dir(b.git.Dir))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.URL.Path = strings.Replace(r.URL.Path, ".git/", ".git/.git/", 1)
		files.ServeHTTP(w, r)
	}))
	defer server.Close()
	for _, keep := range []bool{false, true} {
		b.url = server.URL
		_, files, err := b.checkout(remote.New(b.store), "outer.git", remote.Tree{Submodules: true, KeepGitDir: keep})
		if err != nil || files["sub/i"] != "inner\n" {
			t.Errorf("with its .git %v: %v, %v", keep, files, err)
		}
	}
}

// A machine that lost its power in the middle of a fetch leaves git's lock files behind.
func TestLocksThatAreLeft(t *testing.T) {
	b := newBed(t)
	dir := b.repository("r.git", twoCommits)
	if _, _, err := b.checkout(remote.New(b.store), "r.git", remote.Tree{}); err != nil {
		t.Fatal(err)
	}
	mirrors, err := filepath.Glob(filepath.Join(b.store.Root(), "git", "*", "repository"))
	check(t, err)
	if len(mirrors) != 1 {
		t.Fatal(mirrors)
	}
	for _, name := range []string{"shallow.lock", "packed-refs.lock", "refs/strata/fetched.lock"} {
		check(t, os.WriteFile(filepath.Join(mirrors[0], name), nil, 0o600))
	}
	check(t, remotetest.Change(dir, "echo three >file; git commit -qam 3"))
	_, files, err := b.checkout(remote.New(b.store), "r.git", remote.Tree{})
	if err != nil || files["file"] != "three\n" {
		t.Errorf("%v, %v", files, err)
	}
	if _, err := os.Stat(filepath.Join(mirrors[0], "shallow")); err != nil {
		t.Errorf("the whole history was fetched instead of a commit: %v", err)
	}
}

// A repository cannot reach files of this machine, run anything, or write elsewhere.
func TestHostileRepositories(t *testing.T) {
	if testing.Short() {
		t.Skip("needs six seconds: run without -short")
	}
	b := newBed(t)
	secret := filepath.Join(t.TempDir(), "secret")
	check(t, os.Mkdir(secret, 0o755))
	check(t, remotetest.Make(secret, "echo secret >s; git add -A; git commit -qm s"))
	for name, address := range map[string]string{
		"url": "file://" + secret, "path": secret, "ext": "ext::sh -c touch%20/tmp/x", "option": "-uwhoami", "dash": "ssh://-oProxyCommand=x/y", "up": "../../../../.." + secret,
	} {
		b.repository(name+".git", `c=$(git -C `+secret+` rev-parse HEAD)
printf '[submodule "x"]\n\tpath = x\n\turl = %s\n' '`+address+`' >.gitmodules
git update-index --add --cacheinfo 160000,$c,x; git add .gitmodules; git commit -qm x`)
		for _, keep := range []bool{false, true} {
			_, files, err := b.checkout(remote.New(b.store), name+".git", remote.Tree{Submodules: true, KeepGitDir: keep})
			if err == nil {
				t.Errorf("%s, keep %v: no error, and %v", name, keep, files)
			}
		}
	}
	out := filepath.Join(t.TempDir(), "out")
	check(t, os.Mkdir(out, 0o755))
	b.repository("link.git", "ln -s "+out+" sub; git add -A; git commit -qm l")
	if _, _, err := b.checkout(remote.New(b.store), "link.git#main:sub", remote.Tree{}); err == nil {
		t.Error("a link was taken for a subdirectory")
	}
	hook := b.repository("hook.git", "printf '* filter=evil\n' >.gitattributes; echo x >x; git add -A; git commit -qm h")
	_, files, err := b.checkout(remote.New(b.store), "hook.git", remote.Tree{KeepGitDir: true})
	if err != nil || files["x"] != "x\n" {
		t.Errorf("%s: %v, %v", hook, files, err)
	}
}

func TestKeepGitDir(t *testing.T) {
	if testing.Short() {
		t.Skip("needs four seconds: run without -short")
	}
	b := newBed(t)
	b.repository("r.git", twoCommits)
	for _, ref := range []string{"", "#side", "#v1a", "?tag=v1"} {
		dir, files, err := b.checkout(remote.New(b.store), "r.git"+ref, remote.Tree{KeepGitDir: true, Submodules: true})
		if err != nil || files["run"] == "" {
			t.Errorf("%q: %v, %v", ref, files, err)
			continue
		}
		config, err := os.ReadFile(filepath.Join(dir, ".git/config"))
		if err != nil || !strings.Contains(string(config), b.url+"/r.git") || strings.Contains(string(config), b.store.Root()) {
			t.Errorf("%q: .git/config: %v, %s", ref, err, config)
		}
		check(t, remotetest.Change(dir, "test -z \"$(git status --porcelain)\"; git log -1 >/dev/null"))
	}
}

// The password of an address ends neither in a clone nor in the store, nor does git hand it on to a submodule's .git.
func TestNoPasswordInAClone(t *testing.T) {
	b := newBed(t)
	b.repository("inner.git", "echo inner >i; git add -A; git commit -qm i")
	b.repository("outer.git", "git submodule --quiet add $URL/inner.git sub; git config -f .gitmodules submodule.sub.url ../inner.git; git add -A; git commit -qm o")
	b.git.Password = "hunter2"
	b.url = strings.Replace(b.url, "http://", "http://x-access-token:hunter2@", 1)
	dir, files, err := b.checkout(remote.New(b.store), "outer.git", remote.Tree{Submodules: true, KeepGitDir: true})
	if err != nil || files["sub/i"] != "inner\n" {
		t.Fatal(files, err)
	}
	for _, d := range []string{dir, b.store.Root()} {
		check(t, filepath.WalkDir(d, func(p string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			data, err := os.ReadFile(p)
			if err == nil && strings.Contains(string(data), "hunter2") {
				t.Errorf("%s holds the password:\n%s", p, data)
			}
			return err
		}))
	}
}

func TestModesAndTimes(t *testing.T) {
	b := newBed(t)
	b.repository("r.git", twoCommits)
	dir, _, err := b.checkout(remote.New(b.store), "r.git", remote.Tree{CommitTime: true})
	check(t, err)
	want := time.Date(2021, 3, 4, 5, 6, 7, 0, time.UTC)
	for name, mode := range map[string]fs.FileMode{".": 0o755, "file": 0o644, "run": 0o755, "sub/dir": 0o755, "link": 0o777} {
		st, err := os.Lstat(filepath.Join(dir, name))
		check(t, err)
		if st.Mode().Perm() != mode || !st.ModTime().Equal(want) {
			t.Errorf("%s: %v %v, want %v %v", name, st.Mode(), st.ModTime(), mode, want)
		}
	}
}

func TestGitAuthorization(t *testing.T) {
	b := newBed(t)
	b.repository("r.git", twoCommits)
	b.git.Password = "hunter2"
	_, _, err := b.checkout(remote.New(b.store), "r.git", remote.Tree{})
	if err == nil || !strings.Contains(err.Error(), "--secret id=GIT_AUTH_TOKEN") {
		t.Errorf("without a token: %v", err)
	}
	host := strings.TrimPrefix(b.url, "http://")
	for _, id := range []string{"GIT_AUTH_TOKEN", "GIT_AUTH_TOKEN." + host} {
		f := remote.New(b.store)
		f.Secret = func(asked string) ([]byte, error) {
			if asked == id {
				return []byte("hunter2\n"), nil
			}
			return nil, nil
		}
		if _, _, err := b.checkout(f, "r.git", remote.Tree{}); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
	// The token is nowhere in the store.
	check(t, filepath.WalkDir(b.store.Root(), func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(p)
		if err == nil && strings.Contains(string(data), "hunter2") {
			t.Errorf("%s holds the token", p)
		}
		return err
	}))
}

func TestUnreachableGit(t *testing.T) {
	b := newBed(t)
	b.repository("r.git", twoCommits)
	c, err := remote.New(b.store).Commit(context.Background(), b.source("r.git#main").Git)
	check(t, err)
	r := *b.source("r.git#main").Git
	f := remote.New(b.store)
	ctx, cancel := context.WithCancelCause(context.Background())
	stop := errors.New("stop")
	cancel(stop)
	if _, err := f.Commit(ctx, &r); !errors.Is(err, stop) {
		t.Errorf("canceled: %v", err)
	}
	b.git.Dir = t.TempDir() // everything is gone
	_, err = remote.New(b.store).Commit(context.Background(), &r)
	if err == nil {
		t.Fatal("no error")
	}
	if got := slices.Contains(b.git.Requests(), "/r.git/info/refs"); !got || c.ID == "" {
		t.Errorf("the server was not asked")
	}
}

// Servers that give less than others: of an old one a commit that is no ref's, from a mere file server anything, and
// from git daemon(1), which has no encryption and no passwords.
func TestOtherServers(t *testing.T) {
	if testing.Short() {
		t.Skip("needs five seconds: run without -short")
	}
	b := newBed(t)
	dir := b.repository("r.git", twoCommits+"git update-server-info")
	data, err := os.ReadFile(filepath.Join(dir, ".git/refs/tags/v1"))
	check(t, err)
	commit := strings.TrimSpace(string(data))
	check(t, remotetest.Change(dir, "git tag -d v1 v1a; git update-server-info"))
	b.git.Old = true
	plain := httptest.NewServer(http.FileServer(http.Dir(b.git.Dir)))
	defer plain.Close()
	for _, ref := range []string{"", "#side", "#" + commit} {
		want := map[string]string{"": "two\n", "#side": "side\n", "#" + commit: "one\n"}[ref]
		for name, url := range map[string]string{"old": b.url + "/r.git", "files": plain.URL + "/r.git/.git", "daemon": daemon(t, b.git.Dir) + "/r.git"} {
			t.Run(name+ref, func(t *testing.T) {
				b := newBed(t)
				s, err := address.Parse(url + ref)
				check(t, err)
				files := b.files(s)
				if files != want {
					t.Errorf("%q, want %q", files, want)
				}
			})
		}
	}
}

// files is what the file "file" of a repository says.
func (b *bed) files(s *address.Source) string {
	f := remote.New(b.store)
	c, err := f.Commit(context.Background(), s.Git)
	check(b.T, err)
	dir := filepath.Join(b.TempDir(), "checkout")
	check(b.T, os.Mkdir(dir, 0o755))
	check(b.T, f.Checkout(context.Background(), c, remote.Tree{Submodules: true}, dir))
	data, err := os.ReadFile(filepath.Join(dir, "file"))
	check(b.T, err)
	return string(data)
}

// daemon runs git daemon on a free port as long as the test goes on.
func daemon(t *testing.T, dir string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	address := l.Addr().String()
	check(t, l.Close())
	_, port, _ := strings.Cut(address, ":")
	cmd := exec.Command("git", "-c", "safe.directory=*", "daemon", "--export-all", "--base-path="+dir, "--listen=127.0.0.1", "--port="+port, "--reuseaddr", dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	check(t, cmd.Start())
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		cmd.Wait()
	})
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			return "git://" + address
		}
	}
	t.Fatal("git daemon: nothing listens on", address)
	return ""
}
