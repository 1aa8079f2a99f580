package test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/strata-build/strata/test/testbed"
)

var allOnRungs = flag.Bool("rungs", false, "TestRungs: all transcripts on each rung of docs/rootless.md, not a few")

// rung is as whom strata runs in transcripts that root goes through in TestScript.
type rung struct {
	name string
	testbed.Rung
	scripts []string // without -rungs
}

var (
	lessons = []string{
		"script/lesson1_blame", "script/lesson1_explore", "script/lesson1_layers", "script/lesson1_pip", "script/lesson1_push",
		"script/lesson2_cache", "script/cache_lesson", "script/cache_thirdparty_lesson",
	}
	rungs = []rung{
		{"root", testbed.Rung{}, []string{"rungs/attacks"}},
		{"ranges", testbed.Rung{User: true, Ranges: 65536}, []string{"rungs/attacks", "script/lesson2_cache"}},
		{"given", testbed.Rung{User: true, Ranges: 65536, In: []string{"unshare", "--map-root-user", "--map-auto"}}, []string{"rungs/attacks", "script/lesson1_pip"}},
		{"one", testbed.Rung{User: true}, []string{"rungs/attacks", "rungs/packages", "script/lesson2_cache"}},
		{"container", testbed.Rung{Container: true}, []string{"rungs/attacks", "rungs/packages", "script/lesson2_cache"}},
	}
)

// TestRungs has those who are not root of the machine go through transcripts that root goes through in TestScript.
func TestRungs(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can be another user")
	}
	if testing.Short() {
		t.Skip("needs dockerd and a Python image: run without -short")
	}
	bed := newBed(t)
	for _, r := range rungs {
		t.Run(r.name, func(t *testing.T) {
			scripts := r.scripts
			if *allOnRungs && r.name != "root" { // root goes through the lessons in TestScript
				scripts = append([]string{"rungs/attacks", "rungs/packages"}, lessons...)
			}
			p := bed.params()
			for _, name := range scripts {
				p.Files = append(p.Files, name+".txtar")
			}
			bed.on(r, &p)
			testscript.Run(t, p)
		})
	}
}

// on has transcripts run strata on a rung: the program of that name in their search path is a script that goes there.
// rootstrata is root's, with a store of its own in $WORK/.root.
func (b *bed) on(r rung, p *testscript.Params) {
	if r.name == "root" {
		p.Cmds["rootstrata"] = p.Cmds["strata"]
		p.Condition = r.condition(p.Condition)
		return
	}
	setup := p.Setup
	p.Setup = func(env *testscript.Env) error {
		if err := setup(env); err != nil {
			return err
		}
		program, err := r.Program(env.WorkDir, b.binary, b.docker)
		env.Setenv("PATH", filepath.Dir(program)+":"+env.Getenv("PATH"))
		return err
	}
	p.Cmds["base"] = func(ts *testscript.TestScript, _ bool, args []string) {
		b.base(ts, false, args)
		ts.Check(os.Rename(ts.Getenv("STRATA_ROOT"), filepath.Join(ts.Getenv("WORK"), ".root")))
		store, err := b.storeOn(r.Rung, args[0])
		ts.Check(err)
		ts.Check(store.Copy(context.Background(), ts.Getenv("STRATA_ROOT")))
	}
	p.Cmds["rootstrata"] = func(ts *testscript.TestScript, neg bool, args []string) {
		defer ts.Setenv("STRATA_ROOT", ts.Getenv("STRATA_ROOT"))
		ts.Setenv("STRATA_ROOT", filepath.Join(ts.Getenv("WORK"), ".root"))
		if err := ts.Exec(b.binary, args...); (err != nil) != neg {
			ts.Fatalf("rootstrata %v: %v", args, err)
		}
	}
	p.Condition = r.condition(p.Condition)
}

// storeOn makes a store on a rung, once, with the images of a store of root's.
func (b *bed) storeOn(r testbed.Rung, name string) (*testbed.Store, error) {
	r.In = nil // whoever made the user name space, the users in it are the same
	images := []string{testbed.BusyboxImage}
	if name == "python" {
		images = append(images, testbed.DebianImage, testbed.PythonImage)
	}
	key := fmt.Sprintf("rung-%t-%d-%s", r.Container, r.Ranges, name)
	b.mu.Lock()
	defer b.mu.Unlock()
	if store := b.onRungs[key]; store != nil {
		return store, nil
	}
	from, err := b.stores[name]()
	if err != nil {
		return nil, err
	}
	store, _, err := r.MakeStore(context.Background(), filepath.Join(b.dir, key), b.binary, b.docker, from, images...)
	if err == nil {
		b.onRungs[key] = store
	}
	return store, err
}

// condition adds the name of the rung to the conditions of a transcript, and knows who may observe.
func (r *rung) condition(asRoot func(string) (bool, error)) func(string) (bool, error) {
	return func(name string) (bool, error) {
		if slices.ContainsFunc(rungs, func(r rung) bool { return r.name == name }) {
			return name == r.name, nil
		}
		switch {
		case r.name == "root" || name != "observes" && name != "base-built":
			return asRoot(name)
		case name == "base-built":
			return false, nil
		}
		st, err := os.Stat("/dev/fuse")
		return !r.Container && err == nil && st.Mode().Perm()&0o006 == 0o006, nil // where everybody may use FUSE
	}
}
