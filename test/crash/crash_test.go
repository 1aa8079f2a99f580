// Package crash cuts the power of a machine that works on a store, and looks at what the next boot finds.
//
// The store lies on an ext4 file system in a file, mounted through a loop device. At a random moment
// of a random operation the file is copied as it is: what the kernel has not written yet is lost, as
// in a power cut. The copy is mounted, and on it
//
//   - what is there by name either cannot be read, which an error says, or holds what it should,
//   - everything that was done or under way is done again: it has to succeed and to give the contents
//     that it gives on a new store,
//   - strata system check finds nothing, before and afterwards.
//
// The same is done with kill -9 in the place of the power cut, on the disk as it is.
//
// Nothing is ever mounted outside the mount name space of the test.
package crash

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var (
	cuts  = flag.Int("cuts", 4, "how many power cuts")
	kills = flag.Int("kills", 4, "how many kills")
	seed  = flag.Uint64("seed", 1, "of the first cut or kill; each has the next one")
)

// TestMain has the tests run in name spaces of their own for mounts and processes: however they end, no
// process is left, nothing stays mounted, and no loop device is in use.
func TestMain(m *testing.M) {
	const inside = "STRATA_CRASH_NAMESPACE"
	switch {
	case os.Geteuid() != 0:
		os.Exit(m.Run())
	case os.Getenv(inside) != "":
		// Private first, to leave the machine's mounts alone; then shared, so that a disk that is unmounted here
		// goes from the name spaces of machines with other disks too.
		err := errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""),
			unix.Mount("proc", "/proc", "proc", 0, ""))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		os.Exit(exit.ExitCode())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// needs says why the test cannot run here.
func needs(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a second for each cut: run without -short")
	}
	if os.Geteuid() != 0 {
		t.Skip("strata builds as root only")
	}
	for _, name := range []string{"mkfs.ext4", "findmnt", "docker-registry"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skip(err)
		}
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Skip(err)
	}
}

func TestCuts(t *testing.T) { needs(t); repeat(t, "power cuts", *cuts, (*slot).cut) }

func TestKills(t *testing.T) { needs(t); repeat(t, "kills", *kills, (*slot).kill) }

// repeat does something so many times, on all cores.
func repeat(t *testing.T, what string, times int, once func(*slot, *testing.T, uint64) tally) {
	b := newBench(t)
	began := time.Now()
	var (
		mu      sync.Mutex
		started int
		ended   int
		all     tally
		slots   sync.WaitGroup
	)
	next := func() (i int, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		started++
		return started - 1, started <= times
	}
	add := func(one tally) {
		mu.Lock()
		defer mu.Unlock()
		all.add(one)
		if ended++; ended%25 == 0 {
			t.Logf("%d %s: %+v", ended, what, all)
		}
	}
	for n := range min(runtime.NumCPU(), times) {
		s, err := b.slot(fmt.Sprint("slot", n))
		if err != nil {
			t.Fatal(err)
		}
		slots.Go(func() {
			for i, ok := next(); ok; i, ok = next() {
				add(once(s, t, *seed+uint64(i)))
			}
		})
	}
	slots.Wait()
	t.Logf("%d %s in %s, %d of them while the operation ran; something was set aside after %d; %d images found by name, %d of them not readable",
		times, what, time.Since(began).Round(time.Second), all.during, all.lost, all.images, all.unreadable)
}

// tally counts what was met.
type tally struct{ during, lost, images, unreadable int }

func (t *tally) add(other tally) {
	t.during += other.during
	t.lost += other.lost
	t.images += other.images
	t.unreadable += other.unreadable
}

// scene is a machine that has done a few things, and what it is about to do.
type scene struct {
	what string // so far, for messages
	rand *rand.Rand
	disk *disk
	m    *machine
	done []operation
	next operation
	wait time.Duration // until it is interrupted
}

// prepare has a machine work. The disk is to be unmounted.
func (b *slot) prepare(seed uint64) (*scene, error) {
	r := rand.New(rand.NewPCG(seed, 0))
	s := &scene{what: fmt.Sprintf("-seed %d", seed), rand: r, disk: &disk{file: b.own("before")}}
	if err := copySparse(b.base, s.disk.file); err != nil {
		return s, err
	}
	if err := s.disk.mount(b.own("disk")); err != nil {
		return s, err
	}
	var err error
	if s.m, err = b.boot(s.disk); err != nil {
		return s, err
	}
	all := b.operations(fmt.Sprint(seed))
	for range r.IntN(4) {
		op := all[r.IntN(len(all))]
		s.done = append(s.done, op)
		s.what += ", " + op.name
		for _, command := range op.commands {
			if _, err := s.m.strata(command...); err != nil && op.again {
				return s, err
			}
		}
		if r.IntN(3) == 0 {
			s.what += ", sync"
			if err := s.disk.force(anything, s.m.store, r); err != nil {
				return s, err
			}
		}
	}
	s.next = all[r.IntN(len(all))]
	limit := max(b.took[s.next.name], 100*time.Millisecond)
	s.wait = time.Duration(r.Int64N(int64(limit + limit/4)))
	s.what += fmt.Sprintf("; %s, after %s", s.next.name, s.wait.Round(time.Millisecond))
	return s, nil
}

// cut has a machine work, cuts its power, and looks at what is left.
func (b *slot) cut(t *testing.T, seed uint64) (met tally) {
	t.Helper()
	s, err := b.prepare(seed)
	defer func() { s.disk.release() }()
	if err != nil {
		t.Errorf("%s: before anything is interrupted: %v", s.what, err)
		return met
	}
	w := writeBack(s.rand.IntN(int(writeBacks)))
	s.what += fmt.Sprintf(" a power cut with %s written", w)
	var left *disk
	during, err := b.interrupt(s, func() (err error) {
		if err := s.disk.force(w, s.m.store, s.rand); err != nil {
			return err
		}
		for range 50 {
			if left, err = s.disk.copy(b.own("after")); !errors.Is(err, errMoving) {
				return err
			}
			time.Sleep(time.Millisecond)
		}
		return nil
	})
	if err == nil && left == nil {
		left, err = s.disk.copy(b.own("after")) // what ran was killed: nothing moves
	}
	if err == nil {
		err = s.disk.unmount()
	}
	if err == nil {
		s.disk = left
		err = left.mount(b.own("disk"))
	}
	if err == nil {
		s.m, err = b.boot(left)
	}
	if err != nil {
		t.Errorf("%s: %v", s.what, err)
		return met
	}
	if during {
		met.during++
	}
	b.look(t, s, &met)
	return met
}

// kill has a machine work, kills what runs, and looks at what is left. The machine goes on.
func (b *slot) kill(t *testing.T, seed uint64) (met tally) {
	t.Helper()
	s, err := b.prepare(seed)
	defer func() { s.disk.release() }()
	if err != nil {
		t.Errorf("%s: before anything is interrupted: %v", s.what, err)
		return met
	}
	s.what += " kill -9"
	during, err := b.interrupt(s, func() error { return nil })
	if err != nil {
		t.Errorf("%s: %v", s.what, err)
		return met
	}
	if during {
		met.during++
	}
	b.look(t, s, &met)
	left, err := os.ReadDir(filepath.Join(s.m.store, "tmp"))
	if len(left) > 0 || err != nil {
		t.Errorf("%s: in tmp/ is left %v, %v", s.what, left, err)
	}
	return met
}

// interrupt runs the commands of an operation, calls then after a while, and kills what still runs. during says that
// something did.
func (b *slot) interrupt(s *scene, then func() error) (during bool, err error) {
	m, op := s.m, s.next
	ended := make(chan error, 1)
	stop := make(chan struct{})
	go func() {
		for _, command := range op.commands {
			var out bytes.Buffer
			cmd, err := m.start(&out, command...)
			if err != nil {
				ended <- err
				return
			}
			exited := make(chan error, 1)
			go func() { exited <- cmd.Wait() }()
			select {
			case err = <-exited:
				if err != nil && op.again {
					ended <- fmt.Errorf("strata %s: %w\n%s", strings.Join(command, " "), err, out.Bytes())
					return
				}
			case <-stop:
				cmd.Process.Kill()
				<-exited
				ended <- nil
				return
			}
		}
		ended <- nil
	}()
	finished := false
	select {
	case err = <-ended:
		finished = true
	case <-time.After(s.wait):
	}
	if err == nil {
		err = then()
	}
	close(stop)
	if !finished {
		err = errors.Join(err, <-ended)
	}
	return !finished, err
}

// ending gives what ends the test where there is an error.
func ending(t testing.TB) func(error) {
	return func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
}
