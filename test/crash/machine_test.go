package crash

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/strata-build/strata/test/testbed"
)

// machine runs strata on a disk, from a boot to the next power cut.
type machine struct {
	binary string
	store  string // the folder of the store
	boot   string // a file that stands in the place of /proc/sys/kernel/random/boot_id
}

// newMachine boots: the boot ID is one that the disk has not seen.
func newMachine(binary, store, bootFile string, n int) (*machine, error) {
	id := fmt.Sprintf("%08x-0000-4000-8000-%012x\n", n, time.Now().UnixNano()&0xffffffffffff)
	return &machine{binary, store, bootFile}, os.WriteFile(bootFile, []byte(id), 0o444)
}

// start begins a command in name spaces of its own for processes and mounts: when its first process
// is killed, all others are, and nothing stays mounted.
func (m *machine) start(out *bytes.Buffer, args ...string) (*exec.Cmd, error) {
	const script = `mount --make-rslave / && mount -t proc proc /proc && mount --bind "$BOOT" /proc/sys/kernel/random/boot_id && exec "$@"`
	cmd := exec.Command("sh", append([]string{"-c", script, "sh", m.binary}, args...)...)
	cmd.Env = []string{"BOOT=" + m.boot, "STRATA_ROOT=" + m.store, "HOME=" + filepath.Dir(m.store), "PATH=" + os.Getenv("PATH"),
		testbed.FormVariable + "=" + os.Getenv(testbed.FormVariable)}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	return cmd, cmd.Start()
}

// strata runs a command and returns what it printed.
func (m *machine) strata(args ...string) (string, error) {
	var out bytes.Buffer
	cmd, err := m.start(&out, args...)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		return "", fmt.Errorf("strata %s: %w\n%s", strings.Join(args, " "), err, out.Bytes())
	}
	return out.String(), nil
}
