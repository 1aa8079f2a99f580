package testbed

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// folderPrefix is followed by the process ID of the test program whose folder it is.
const folderPrefix = "strata-test-"

// Main is for TestMain: it runs the tests of a package and returns the exit code. All temporary files go to one folder,
// those of the tests and, through TMPDIR and GOTMPDIR, those of the go commands and servers that they start: testscript
// keeps its folder where only some of the scripts run, and a killed program keeps everything. The folder is removed at
// the end, unless testscript's flag -testwork is set, and so are the folders of test programs that were killed, with what
// is mounted there. A test program that leaves something mounted itself has failed.
func Main(m interface{ Run() int }) int {
	parent, err := filepath.EvalSymlinks(os.TempDir())
	if err != nil {
		return failed(err)
	}
	if err := sweep(parent); err != nil {
		return failed(err)
	}
	folder := filepath.Join(parent, folderPrefix+strconv.Itoa(os.Getpid()))
	if err := os.Mkdir(folder, 0o755); err != nil { // some tests go on as nobody
		return failed(err)
	}
	for _, name := range []string{"TMPDIR", "GOTMPDIR"} {
		if err := os.Setenv(name, folder); err != nil {
			return failed(err)
		}
	}
	// Tests that want another than the default say so.
	if err := os.Unsetenv("STRATA_OBSERVE"); err != nil {
		return failed(err)
	}
	code := m.Run()
	if keep := flag.Lookup("testwork"); keep != nil && keep.Value.String() == "true" {
		return code
	}
	mounts, err := removeFolder(folder)
	if err == nil && len(mounts) > 0 {
		err = fmt.Errorf("the tests left mounted: %q", mounts)
	}
	if err != nil {
		return failed(err)
	}
	return code
}

func failed(err error) int {
	fmt.Fprintln(os.Stderr, "the temporary folder of the tests:", err)
	return 1
}

// sweep removes the folders below parent whose test programs no longer run.
func sweep(parent string) error {
	folders, err := filepath.Glob(filepath.Join(parent, folderPrefix+"*"))
	if err != nil {
		return err
	}
	for _, folder := range folders {
		pid, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(folder), folderPrefix))
		if err != nil || pid != os.Getpid() && unix.Kill(pid, 0) != unix.ESRCH {
			continue
		}
		if _, err := removeFolder(folder); err != nil {
			return err
		}
	}
	return nil
}

// removeFolder removes a folder, and returns what was mounted below it and is unmounted first.
func removeFolder(folder string) (mounted []string, err error) {
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(folder))
	if err != nil {
		return nil, err
	}
	for _, mount := range slices.Backward(mounts) { // the last mount may lie on an earlier one
		err := unix.Unmount(mount.Mountpoint, unix.MNT_DETACH)
		if err != nil && err != unix.EINVAL && err != unix.ENOENT { // another test program that sweeps was faster
			return nil, fmt.Errorf("unmounting %s: %w", mount.Mountpoint, err)
		}
		mounted = append(mounted, mount.Mountpoint)
	}
	return mounted, os.RemoveAll(folder)
}
