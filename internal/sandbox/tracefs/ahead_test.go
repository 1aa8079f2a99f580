package tracefs

import "testing"

// walk has a habit see a walk through directories of which only some of the names are looked up, and returns how many
// came full.
func walk(h *habit, directories, names, lookedUp int) (full int) {
	h.offer(directories)
	for d := range directories {
		h.take()
		if h.likely(directories - d - 1) {
			full++
			continue
		}
		h.offer(names)
		for range lookedUp {
			h.take()
		}
	}
	return full
}

// Who looks up all that they list gets names in full, but for the first directories and one in some; who looks up some
// of it never does, nor who changes over to that.
func TestHabit(t *testing.T) {
	defer func(was int) { habitual = was }(habitual)
	habitual = 200
	all := &habit{}
	if full := walk(all, 1000, 20, 20); full < 900 || full > 950 {
		t.Errorf("of 1000 directories that were walked through, %d came full", full)
	}
	some := &habit{}
	if full := walk(some, 1000, 20, 15); full != 0 {
		t.Errorf("of 1000 directories of which a part was looked up, %d came full", full)
	}
	walk(some, 1000, 20, 20)
	if full := walk(some, 1000, 20, 20); full == 0 {
		t.Error("who begins to look up all never gets a directory in full")
	}
	if full := walk(all, 100_000, 20, 2); full > 10_000 {
		t.Errorf("after a change of habits, %d directories came full", full)
	}
}
