package disk_test

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"github.com/strata-build/strata/internal/store/disk"
)

// What is said of a file depends on whose it is: the store's, or one that a person has named.
func TestExplainNamed(t *testing.T) {
	denied := func(op, path string) error { return &fs.PathError{Op: op, Path: path, Err: syscall.EACCES} }
	missing := &fs.PathError{Op: "stat", Path: "here", Err: syscall.ENOENT}
	for _, test := range []struct {
		name, root string
		err        error
		want       string // what the message ends in
	}{
		{"a person's file", "/store", denied("open", "a.tar"), "permission denied; permit it to this user, or run strata as root"},
		{"the store's", "/store", denied("open", "/store/blobs"), "; run strata as root, or set STRATA_ROOT to a folder of your own"},
		{"in an os.Root", "/store", denied("openat", "blobs"), "; run strata as root, or set STRATA_ROOT to a folder of your own"},
		{"no store yet", "", denied("stat", "key"), "; permit it to this user, or run strata as root"},
		{"beside the store", "/store", denied("open", "/store2/a"), "; permit it to this user, or run strata as root"},
		{"advised before", "/store", fmt.Errorf("copying: %w", disk.Advised(denied("open", "a"), "leave it out")), "permission denied; leave it out"},
		{"not there", "/store", missing, "no such file or directory; see whether the name is right"},
		{"not there, which says more", "/store", fmt.Errorf("%w; make it first", missing), "directory; make it first"},
		{"the store's, not there", "/store", &fs.PathError{Op: "open", Path: "/store/x", Err: syscall.ENOENT}, "no such file or directory"},
		{"anything else", "", errors.New("no"), "no"},
	} {
		if got := disk.ExplainNamed(test.root, test.err).Error(); !strings.HasSuffix(got, test.want) {
			t.Errorf("%s: %s, expected it to end in %q", test.name, got, test.want)
		}
	}
}
