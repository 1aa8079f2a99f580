package dockerfile

import (
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// What is not said follows BuildKit: the defaults differ by type.
func TestMounts(t *testing.T) {
	one, mode := uint64(1), uint64(0o700)
	name := "TOKEN"
	for flag, want := range map[string]Mount{
		"target=/x":                              {Type: MountBind, Target: "/x", Source: "/", ReadOnly: true},
		"target=x,source=a/../b,rw":              {Type: MountBind, Target: "/w/x", Source: "/b"},
		"type=$T,target=$D/x/":                   {Type: MountCache, Target: "/dir/x", Source: "/", ID: "/$D/x", Sharing: ShareAll},
		"type=cache,target=x,id=y":               {Type: MountCache, Target: "/w/x", Source: "/", ID: "/y", Sharing: ShareAll},
		"type=cache,dst=/x,sharing=locked,uid=1": {Type: MountCache, Target: "/x", Source: "/", ID: "//x", Sharing: ShareLocked, UID: &one},
		"type=cache,target=/x,mode=0700,ro":      {Type: MountCache, Target: "/x", Source: "/", ID: "//x", Sharing: ShareAll, Mode: &mode, ReadOnly: true},
		"type=tmpfs,target=/x,size=1m":           {Type: MountTmpfs, Target: "/x", Source: "/", Size: 1 << 20},
		"from=scratch,target=/x":                 {Type: MountBind, Target: "/x", Source: "/", ReadOnly: true, From: Source{Scratch: true}},
		"from=0,target=/x":                       {Type: MountBind, Target: "/x", Source: "/", ReadOnly: true, From: Source{Image: "docker.io/library/0"}}, // no index
		"from=busybox:1,target=/x,src=bin":       {Type: MountBind, Target: "/x", Source: "/bin", ReadOnly: true, From: Source{Image: "busybox:1"}},
		"type=secret,target=x/key,required":      {Type: MountSecret, Target: "/x/key", ID: "key", ReadOnly: true, Required: true},
		"type=secret,id=key,env=TOKEN":           {Type: MountSecret, ID: "key", ReadOnly: true, Env: &name},
		"type=ssh":                               {Type: MountSSH, ID: "default", ReadOnly: true},
		"type=ssh,id=a,target=/s":                {Type: MountSSH, ID: "a", Target: "/s", ReadOnly: true},
	} {
		want.ID = strings.ReplaceAll(want.ID, "$D", "/dir")
		p := mustPlan(t, "FROM a\nENV T=cache D=/dir\nWORKDIR /w\nRUN --mount="+flag+" x\n", Options{})
		steps, _ := walkAll(t, p, nil)
		if diff := cmp.Diff([]Mount{want}, steps[len(steps)-1].Run.Mounts, cmpopts.IgnoreUnexported(Stage{})); diff != "" {
			t.Errorf("%s: %s", flag, diff)
		}
	}
}

func TestMountFromStage(t *testing.T) {
	const source = "FROM a AS Lib\nFROM a AS unused\nFROM b\nRUN --mount=from=lib,target=/x --mount=type=cache,from=c,target=/y z\n"
	p := mustPlan(t, source, Options{Args: map[string]string{"BUILDKIT_CACHE_MOUNT_NS": "ns"}})
	if got := names(p.Stages); got != "lib 2" {
		t.Errorf("needed: %s", got)
	}
	if diff := cmp.Diff([]string{"c"}, p.Target.Images); diff != "" {
		t.Error(diff)
	}
	steps, _ := walkAll(t, p, nil)
	m := steps[0].Run.Mounts
	if m[0].From.Stage != p.Stages[0] || m[0].FromContext() || m[1].From.Image != "c" || m[1].ID != "ns//y" {
		t.Errorf("%+v", m)
	}
	if got := steps[0].Stages(); len(got) != 1 || got[0] != p.Stages[0] {
		t.Errorf("stages of the step: %v", got)
	}
}

// The parser keeps expanded mounts in the instruction, and all plans of a file share it.
func TestMountsOfPlansAtOnce(t *testing.T) {
	f, err := Parse([]byte("FROM a\nARG D\nRUN --mount=type=tmpfs,target=$D x\n"), "Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for _, dir := range []string{"/a", "/b", "/c", "/d"} {
		wg.Go(func() {
			for range 50 {
				p, err := f.Plan(Options{Platform: testPlatform, Args: map[string]string{"D": dir}})
				if err != nil {
					t.Error(err)
					return
				}
				steps, _ := walkAll(t, p, nil)
				if got := steps[1].Run.Mounts[0].Target; got != dir {
					t.Errorf("target %s, want %s", got, dir)
				}
			}
		})
	}
	wg.Wait()
}
