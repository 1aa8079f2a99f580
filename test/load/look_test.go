package load

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"

	"github.com/strata-build/strata/test/testbed"
)

// look sees what is there when all workers have ended.
func (b *bench) look() {
	b.t.Helper()
	b.lookAtImages()
	if out, err := b.strata("system", "check", "--read-data"); err != nil {
		b.t.Errorf("%v\n%s", err, out)
	}
	b.lookAround()
	if out, err := b.strata("system", "prune", "-a", "-f"); err != nil {
		b.t.Errorf("%v\n%s", err, out)
	}
	if out, err := b.strata("system", "check", "--read-data"); err != nil {
		b.t.Errorf("when all is pruned: %v\n%s", err, out)
	}
	b.isEmpty("layers", "blobs/sha256", "tocs", "tmp", "locks")
}

// lookAtImages compares the content of all images, each once.
func (b *bench) lookAtImages() {
	out, err := b.strata("images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}")
	if err != nil {
		b.t.Errorf("%v\n%s", err, out)
		return
	}
	ids := map[string]string{}
	for line := range strings.Lines(out) {
		if name, id, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			ids[name] = id
		}
	}
	contents := map[string]string{} // by ID
	for _, w := range b.workers {
		for name, of := range w.own {
			id := ids[name]
			if contents[id] == "" {
				if contents[id], err = b.content(name, b.path("saved.tar")); err != nil {
					b.t.Errorf("at the end, %s, which was built of %s: %v", name, of, err)
					continue
				}
			}
			if diff := testbed.Difference(b.want[of], contents[id]); diff != "" {
				b.t.Errorf("at the end, %s, which was built of %s: %s", name, of, diff)
			}
		}
	}
}

// lookAround looks for what the commands have left.
func (b *bench) lookAround() {
	b.isEmpty("tmp", "locks")
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(b.root))
	if err != nil || len(mounts) > 0 {
		b.t.Errorf("left mounted: %v, %v", mounts, err)
	}
	processes, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		b.t.Error(err)
	}
	for _, link := range processes {
		if program, err := os.Readlink(link); err == nil && program == b.binary {
			b.t.Errorf("left running: %s", filepath.Dir(link))
		}
	}
	reports, err := filepath.Glob(b.path("race.*"))
	if err != nil {
		b.t.Error(err)
	}
	for _, path := range reports {
		text, err := os.ReadFile(path)
		b.t.Errorf("%v\n%s", err, text)
	}
	partial, err := filepath.Glob(filepath.Join(b.root, "blobs", "sha256", ".partial-*"))
	if err != nil || len(partial) > 0 {
		b.t.Errorf("downloads broke off: %v, %v", partial, err)
	}
}

// isEmpty sees that there is nothing in some folders of the store, if they are there.
func (b *bench) isEmpty(dirs ...string) {
	b.t.Helper()
	for _, dir := range dirs {
		entries, err := os.ReadDir(filepath.Join(b.root, dir))
		if err != nil && !os.IsNotExist(err) {
			b.t.Error(err)
		}
		if len(entries) > 0 {
			b.t.Errorf("%s/ has %d entries, %v among them", dir, len(entries), entries[0])
		}
	}
}
