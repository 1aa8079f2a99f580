package crash

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/strata-build/strata/internal/store/db"
	"github.com/strata-build/strata/test/testbed"
)

// TestNames cuts the power after commands that change names, or put a config into the store, and nothing else: what they
// did is there afterwards. Another process has the database open, as a build beside them would: who closes it last moves
// the log into the database, and waits for that.
func TestNames(t *testing.T) {
	needs(t)
	dir := scratch(t)
	check := ending(t)
	binary, err := testbed.Build(t.Context(), dir)
	check(err)
	busybox, err := testbed.Busybox(t.Context())
	check(err)
	context := filepath.Join(dir, "context")
	check(os.Mkdir(context, 0o700))
	check(os.WriteFile(filepath.Join(context, "Dockerfile"), []byte("FROM busybox\nRUN echo made > /made\nARG V=1\nLABEL version=$V\n"), 0o600))

	d, err := makeDisk(filepath.Join(dir, "file"))
	check(err)
	check(d.mount(filepath.Join(dir, "disk")))
	t.Cleanup(d.release)
	m, err := newMachine(binary, filepath.Join(d.dir, "store"), filepath.Join(dir, "boot"), 1)
	check(err)
	for _, command := range [][]string{{"import", busybox, "busybox"}, {"build", "-q", "-t", "app:1", context}} {
		_, err = m.strata(command...)
		check(err)
	}
	other, err := db.Open(m.store)
	check(err)
	defer other.Close()

	for _, step := range []struct {
		command []string
		name    string
		there   bool
	}{
		{[]string{"tag", "app:1", "tagged:1"}, "tagged:1", true},
		{[]string{"build", "-q", "-t", "cached:1", context}, "cached:1", true},
		{[]string{"build", "-q", "-t", "labelled:1", "--build-arg", "V=2", context}, "labelled:1", true},
		{[]string{"rmi", "tagged:1"}, "tagged:1", false},
	} {
		_, err := m.strata(step.command...)
		check(err)
		listed, err := afterCut(d, binary, dir)
		check(err)
		if there := slices.Contains(strings.Fields(listed), step.name); there != step.there {
			t.Errorf("after strata %s and a power cut, %s is in the list: %v; the list:\n%s", strings.Join(step.command, " "), step.name, there, listed)
		}
	}
	check(other.Close())
}

// afterCut lists the images that are there after a power cut. The disk goes on.
func afterCut(d *disk, binary, dir string) (listed string, err error) {
	left, err := d.copy(filepath.Join(dir, "left"))
	for errors.Is(err, errMoving) {
		time.Sleep(time.Millisecond)
		left, err = d.copy(filepath.Join(dir, "left"))
	}
	if err != nil {
		return "", err
	}
	if err := left.mount(filepath.Join(dir, "after")); err != nil {
		return "", err
	}
	defer left.release()
	m, err := newMachine(binary, filepath.Join(left.dir, "store"), filepath.Join(dir, "next"), 2)
	if err != nil {
		return "", err
	}
	return m.strata("images", "--format", "{{.Repository}}:{{.Tag}}")
}
