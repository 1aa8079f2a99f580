package tracefs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/observed"
	"github.com/strata-build/strata/internal/sandbox/tracefs"
)

// Who has listed all directories, and looks up all names of those that they come to, is given the names of the next one
// when they look the first of them up. Who looks up some of them is not.
func TestListedAgain(t *testing.T) {
	needFUSE(t)
	const directories, names = 20, 20
	for _, walked := range []int{names, names / 2} {
		var entries []*layer.Entry
		for d := range directories {
			entries = append(entries, &layer.Entry{Path: fmt.Sprintf("d%02d", d), Type: layer.Dir, Mode: 0o755})
			for n := range names {
				entries = append(entries, &layer.Entry{Path: fmt.Sprintf("d%02d/%02d", d, n), Type: layer.File, Mode: 0o644})
			}
		}
		l := layerOf(t, "a", "")
		toc, err := layer.NewTOC(entries)
		check(t, err)
		l.TOC, l.View = toc, observed.NewView(toc)
		m, err := tracefs.Serve(filepath.Join(t.TempDir(), "served"), []tracefs.Layer{l})
		check(t, err)
		stat := func(d, n int) {
			_, err := os.Stat(filepath.Join(m.Dir(0), fmt.Sprintf("d%02d/%02d", d, n)))
			check(t, err)
		}
		for d := range directories {
			_, err := os.ReadDir(filepath.Join(m.Dir(0), fmt.Sprintf("d%02d", d)))
			check(t, err)
		}
		for d := range directories - 2 {
			for n := range walked {
				stat(d, n)
			}
		}
		lookedUp := func() (in int) {
			recorders, err := m.Asked()
			check(t, err)
			for _, x := range recorders[0].Tree("", "").Inputs {
				if len(x.Path) > 3 && x.Path[:3] >= fmt.Sprintf("d%02d", directories-2) && x.Asked&observed.LookedUp != 0 {
					in++
				}
			}
			return in
		}
		stat(directories-2, 0)
		stat(directories-1, 0) // one in some is not given ahead
		if walked < names {
			time.Sleep(10 * time.Millisecond) // so that what should not happen may
			if got := lookedUp(); got != 2 {
				t.Errorf("who looks up some names is given %d", got)
			}
		} else {
			for lookedUp() < names+1 {
				time.Sleep(time.Millisecond)
			}
		}
		check(t, m.Detach())
		check(t, m.Close())
	}
}
