package identity

import (
	"errors"
	"testing"
)

func TestPlace(t *testing.T) {
	for _, test := range []struct {
		name, uids, gids string
		want             place
		trees            bool
	}{
		{"root", "         0          0 4294967295\n", "         0          0 4294967295\n", place{ids: allIDs, name: "root"}, true},
		{
			"ranges", "0 1000 1\n1 100000 65536\n", "0 100 1\n1 100000 65536\n",
			place{mapped: true, ids: 65537, name: "users 0=1000 1-65536=100000-165535, groups 0=100 1-65536=100000-165535"}, true,
		},
		{"one ID", "0 1000 1\n", "0 1000 1\n", place{mapped: true, ids: 1, name: OneID(1000, 1000)}, true},
		{"a hole, in any order", "5 200 10\n0 100 5\n16 300 10\n", "0 0 4294967295\n", place{
			mapped: true, ids: 15, name: "users 5-14=200-209 0-4=100-104 16-25=300-309, groups 0-4294967294=0-4294967294",
		}, true},
		{"all in another", "0 0 4294967295\n", "0 0 4294967295\n", place{
			mapped: true, ids: allIDs, name: "users 0-4294967294=0-4294967294, groups 0-4294967294=0-4294967294",
		}, true},
		{"not a map", "x", "", place{mapped: true, name: "users , groups "}, false},
	} {
		got := parsePlace(test.uids, test.gids, test.name != "all in another")
		if got != test.want {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
		id := &Identity{owners: Same{}, place: got}
		if id.Marked() != (got.ids > 0 && got.ids < fewestIDs) {
			t.Errorf("%s: owners are noted: %v", test.name, id.Marked())
		}
		if err := id.Trees(); (err == nil) != test.trees {
			t.Errorf("%s: trees: %v", test.name, err)
		}
	}
}

// An owner without a number in the name space is an error that says so, before the kernel is asked.
func TestOwnersInNameSpace(t *testing.T) {
	id := &Identity{owners: Same{}, place: parsePlace("0 1000 1\n1 100000 65536\n", "0 1000 1\n1 100000 65536\n", false)}
	if _, err := id.OnDisk(Owner{65536, 65536}); err != nil {
		t.Error(err)
	}
	for _, o := range []Owner{{65537, 0}, {0, 65537}, {1 << 31, 1 << 31}} {
		var missing *OwnerError
		if _, err := id.OnDisk(o); !errors.As(err, &missing) || missing.Owner != o {
			t.Errorf("%v: %v", o, err)
		}
	}
	reason := errors.New("a reason")
	if got := id.Without(reason).Trees(); got != reason {
		t.Errorf("the reason is %v", got)
	}
}

// overlayfs's marks and an image's own attributes keep apart, and what is written is read again.
func TestMarks(t *testing.T) {
	root := &Identity{place: place{ids: allIDs, name: "root"}}
	mapped := &Identity{place: place{mapped: true, ids: 65537}}
	alone := &Identity{place: place{mapped: true, ids: 1}}
	for _, test := range []struct {
		id   *Identity
		disk string
		mark Mark
		name string
	}{
		{root, "trusted.overlay.opaque", OpaqueMark, ""},
		{root, "trusted.overlay.whiteout", WhiteoutMark, ""},
		{root, "trusted.overlay.origin", OtherMark, ""},
		{root, "user.overlay.opaque", NoMark, "user.overlay.opaque"},
		{root, "user.strata.device", NoMark, "user.strata.device"},
		{mapped, "user.overlay.opaque", OpaqueMark, ""},
		{mapped, "user.overlay.whiteout", WhiteoutMark, ""},
		{mapped, "user.overlay.impure", OtherMark, ""},
		{mapped, "user.overlay.overlay.opaque", NoMark, "user.overlay.opaque"},
		{mapped, "user.strata.device", SpecialMark, ""},
		{mapped, "user.other", NoMark, "user.other"},
		{mapped, "user.strata.owner", NoMark, "user.strata.owner"},
		{alone, "user.strata.owner", OwnerMark, ""},
		{alone, "user.strata.device", SpecialMark, ""},
		{mapped, "security.capability", NoMark, "security.capability"},
	} {
		mark, name := test.id.ReadMark(test.disk)
		if mark != test.mark || name != test.name {
			t.Errorf("%s is %v %q, want %v %q", test.disk, mark, name, test.mark, test.name)
		}
		if mark == NoMark && test.id.diskXattr(name) != test.disk {
			t.Errorf("%s is written as %s and read as %s", name, test.id.diskXattr(name), test.disk)
		}
	}
	for _, d := range []Device{{false, 1, 3}, {true, 259, 1048575}} {
		if got, ok := ParseDevice(d.String()); !ok || got != d {
			t.Errorf("%v is read as %v", d, got)
		}
	}
	for _, bad := range []string{"", "c 1", "x 1 2", "c -1 2"} {
		if d, ok := ParseDevice(bad); ok {
			t.Errorf("%q is %v", bad, d)
		}
	}
}
