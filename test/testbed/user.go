package testbed

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// UserID is the number of an ordinary user, whom the machine does not know.
const UserID = 54321

// firstSubordinate is the first of the user's subordinate IDs.
const firstSubordinate = 1_000_000_000

// User is an ordinary user of this machine, who exists in the mount name space of each of its commands only: nothing of
// the machine changes.
type User struct {
	Home string
	// Chrooted has commands run in a chroot that shows all of the machine: there the kernel makes nobody a user name
	// space (user_namespaces(7), EPERM).
	Chrooted bool
	// Bounding are the capabilities that set-user-ID programs can get, as setpriv has them: "-all,+setuid"; "" are all.
	Bounding string
	etc      string
}

// NewUser makes a user with a home and so many subordinate IDs in a new folder, which others can enter.
func NewUser(dir string, ranges int) (*User, error) {
	u := &User{Home: filepath.Join(dir, "home"), etc: filepath.Join(dir, "etc-"+strconv.Itoa(ranges))}
	for _, name := range []string{u.Home, u.etc} {
		if err := os.MkdirAll(name, 0o755); err != nil {
			return nil, err
		}
	}
	if entries, err := os.ReadDir(u.Home); err != nil || len(entries) == 0 { // else it has files with the owners of images
		if err := u.Give(u.Home); err != nil {
			return nil, err
		}
	}
	if err := u.makeTun(); err != nil {
		return nil, err
	}
	subordinate := ""
	if ranges > 0 {
		subordinate = fmt.Sprintf("ordinary:%d:%d\n", firstSubordinate, ranges)
	}
	for name, line := range map[string]string{
		"passwd": fmt.Sprintf("ordinary:x:%d:%d::%s:/bin/sh\n", UserID, UserID, u.Home),
		"subuid": subordinate, "subgid": subordinate,
	} {
		data, err := os.ReadFile(filepath.Join("/etc", name))
		if err != nil && !os.IsNotExist(err) {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(u.etc, name), append(data, line...), 0o644); err != nil {
			return nil, err
		}
	}
	return u, nil
}

// makeTun makes the device of network interfaces as most machines have it: open to everybody.
func (u *User) makeTun() error {
	var st unix.Stat_t
	path := filepath.Join(u.etc, "tun")
	if unix.Stat("/dev/net/tun", &st) != nil || unix.Stat(path, &st) == nil {
		return nil
	}
	if err := unix.Mknod(path, unix.S_IFCHR|0o666, int(unix.Mkdev(10, 200))); err != nil {
		return err
	}
	return os.Chmod(path, 0o666)
}

// Give gives the user a folder with all that is in it, and lets it go there.
func (u *User) Give(dir string) error {
	for parent := filepath.Dir(dir); parent != filepath.Dir(parent) && parent != os.TempDir(); parent = filepath.Dir(parent) {
		st, err := os.Stat(parent)
		if err == nil && st.Mode().Perm()&0o055 != 0o055 {
			err = os.Chmod(parent, st.Mode().Perm()|0o055)
		}
		if err != nil {
			return err
		}
	}
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		if err := os.Lchown(path, UserID, UserID); err != nil || !st.Mode().IsRegular() {
			return err
		}
		return os.Chmod(path, st.Mode()) // with the bits that a change of owner takes away
	})
}

// Command is a program, or NAME=VALUE... in front of it, as the user runs it.
func (u *User) Command(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "unshare", u.Arguments(args...)...)
}

// Arguments are those of unshare(1) for Command.
func (u *User) Arguments(args ...string) []string {
	id := strconv.Itoa(UserID)
	place, program := "", "setpriv"
	if u.Chrooted {
		place, program = `mkdir -p "$0/root"; mount --rbind / "$0/root"`, `chroot "$0/root" setpriv`
	}
	bounding := ""
	if u.Bounding != "" {
		bounding = "--bounding-set=" + u.Bounding
	}
	script := `set -e
[ ! -e "$0/tun" ] || mount --bind "$0/tun" /dev/net/tun
for name in passwd subuid subgid; do [ ! -e /etc/$name ] || mount --bind "$0/$name" /etc/$name; done
unset STRATA_ROOT XDG_DATA_HOME
` + place + `
exec ` + program + ` --reuid=` + id + ` --regid=` + id + ` --clear-groups ` + bounding + ` env -C "$PWD" HOME="$1" "${@:2}"`
	return append([]string{"--mount", "--propagation", "private", "bash", "-c", script, u.etc, u.Home}, args...)
}
