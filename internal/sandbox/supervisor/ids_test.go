package supervisor

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

const none = uint64(unchanged)

// The rules are those of credentials(7) and the calls' pages.
func TestSetIDs(t *testing.T) {
	dropped := ids{1, 1, 1, 1}
	left := ids{0, 1, 0, 1} // by seteuid: root can come back
	for _, test := range []struct {
		name       string
		change     func(*call, *ids, bool) unix.Errno
		was        ids
		privileged bool
		arguments  [3]uint64
		want       ids
		errno      unix.Errno
	}{
		{"setuid by root", one, ids{}, true, [3]uint64{5}, ids{5, 5, 5, 5}, 0},
		{"setuid to oneself", one, left, false, [3]uint64{0}, ids{0, 0, 0, 0}, 0},
		{"setuid to root", one, dropped, false, [3]uint64{0}, dropped, unix.EPERM},
		{"setuid to nobody", one, ids{}, true, [3]uint64{none}, ids{}, unix.EINVAL},
		{"setreuid by root", two, ids{}, true, [3]uint64{5, 6}, ids{5, 6, 6, 6}, 0},
		{"setreuid of one", two, ids{}, true, [3]uint64{none, 6}, ids{0, 6, 6, 6}, 0},
		{"setreuid swaps", two, ids{1, 2, 2, 2}, false, [3]uint64{2, 1}, ids{2, 1, 1, 1}, 0},
		{"setreuid to root", two, dropped, false, [3]uint64{none, 0}, dropped, unix.EPERM},
		{"setresuid by root", three, ids{}, true, [3]uint64{5, 6, 7}, ids{5, 6, 7, 6}, 0},
		{"seteuid", three, ids{}, true, [3]uint64{none, 1, none}, left, 0},
		{"seteuid back", three, left, false, [3]uint64{none, 0, none}, ids{}, 0},
		{"setresuid to root", three, dropped, false, [3]uint64{0, 0, 0}, dropped, unix.EPERM},
	} {
		c := &call{}
		copy(c.argument[:], test.arguments[:])
		got := test.was
		if errno := test.change(c, &got, test.privileged); errno != test.errno {
			t.Errorf("%s: %v, want %v", test.name, errno, test.errno)
		} else if errno == 0 && got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

// Whom a process stands for is kept with it: once for equal ones, and within bounds.
func TestUsers(t *testing.T) {
	var u users
	root := NewCredentials(0, 0, []int{2, 1})
	if _, err := u.add(root); err != nil {
		t.Fatal(err)
	}
	pid := os.Getpid()
	var before unix.Rlimit
	if err := unix.Prlimit(pid, kept, nil, &before); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Prlimit(pid, kept, &before, nil) }()
	if got, err := u.of(pid); err != nil || got != root {
		t.Errorf("a process that nothing was kept for is %v, %v", got, err)
	}
	app := NewCredentials(1000, 1000, nil)
	if err := u.set(pid, app); err != nil {
		t.Fatal(err)
	}
	if got, err := u.of(pid); err != nil || got != app {
		t.Errorf("the process is %v, %v", got, err)
	}
	if i, err := u.add(NewCredentials(0, 0, []int{1, 2})); i != 0 || err != nil {
		t.Errorf("equal credentials are number %d, %v", i, err)
	}
	if _, err := u.add(&Credentials{groups: make([]uint32, maxGroups+1)}); err != unix.ENOMEM {
		t.Errorf("too many groups: %v", err)
	}
}
