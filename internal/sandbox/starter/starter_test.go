package starter

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func newStarter(t *testing.T) *Starter {
	t.Helper()
	s, err := New(t.TempDir())
	if errors.Is(err, ErrUnavailable) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// start starts a program that has out as its standard output, and waits for its end.
func start(t *testing.T, s *Starter, out *os.File, p *Program) (unix.WaitStatus, error) {
	t.Helper()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if out == nil {
		out = null
	}
	process, err := s.Start(Place{}, []*os.File{null, out, null, null}, p)
	if err != nil {
		return 0, err
	}
	if err := process.Continue(p); err != nil {
		process.Kill()
		_, _ = process.Wait()
		return 0, err
	}
	status, err := process.Wait()
	return unix.WaitStatus(status), err
}

// A program's calls, results, tolerated errors and pointers are what they are in Go.
func TestProgram(t *testing.T) {
	s := newStarter(t)
	dir := t.TempDir()
	out, err := os.Create(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	p := &Program{}
	p.Do("make a directory", unix.SYS_MKDIRAT, Int(unix.AT_FDCWD), p.Text(dir+"/a"), Int(0o755))
	p.Do("make it again", unix.SYS_MKDIRAT, Int(unix.AT_FDCWD), p.Text(dir+"/a"), Int(0o755)).Unless(unix.EEXIST).Skip(1)
	p.Do("open it", unix.SYS_OPENAT, Int(unix.AT_FDCWD), p.Text(dir+"/a"), Int(unix.O_PATH|unix.O_CLOEXEC))
	p.Do("make one in it", unix.SYS_MKDIRAT, Last(), p.Text("b"), Int(0o755)).Skip(1)
	p.Do("never made", unix.SYS_MKDIRAT, Int(unix.AT_FDCWD), p.Text(dir+"/c"), Int(0o755))
	part := p.Struct(nil, p.Text("by writev\n")) // struct iovec: a pointer, then a length
	p.data = append(p.data, make([]byte, 8)...)
	p.data[len(p.data)-8] = 10
	p.Do("write", unix.SYS_WRITEV, Int(1), part, Int(1))
	p.Wait()
	p.Do("execute", unix.SYS_EXECVE, p.Text("/bin/sh"), p.Texts([]string{"sh", "-c", `echo "$A $1"; ls /proc/self/fd; exit 3`, "sh", "b c"}), p.Texts([]string{"A=a", "PATH=/bin"}))
	status, err := start(t, s, out, p)
	if err != nil || status.ExitStatus() != 3 {
		t.Errorf("status %v, %v", status, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "a/b")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "c")); err == nil {
		t.Error("a call was made that is skipped")
	}
	said, err := os.ReadFile(out.Name())
	if err != nil || string(said) != "by writev\na b c\n0\n1\n2\n3\n" { // 3 is ls's own
		t.Errorf("%q, %v", said, err)
	}
}

// A call that fails is named, whether it is before the wait or after it, and nothing is left of the process.
func TestCallThatFails(t *testing.T) {
	s := newStarter(t)
	for _, after := range []bool{false, true} {
		p := &Program{}
		if after {
			p.Wait()
		}
		p.Do("enter it", unix.SYS_CHDIR, p.Text("/nothere"))
		if !after {
			p.Wait()
		}
		_, err := start(t, s, nil, p)
		if call := (*CallError)(nil); !errors.As(err, &call) || call.Doing != "enter it" || !errors.Is(err, unix.ENOENT) {
			t.Errorf("after the wait: %v; %v", after, err)
		}
	}
	if n := len(s.started) + len(s.asked); n != 0 {
		t.Errorf("%d processes are left", n)
	}
}

// A process that waits, and whose starter or builder ends, ends too: what was prepared and never used leaves nothing
// behind.
func TestUnused(t *testing.T) {
	for name, end := range map[string]func(*Starter){"builder": (*Starter).Close, "starter": (*Starter).Kill} {
		t.Run(name, func(t *testing.T) {
			s := newStarter(t)
			p := &Program{}
			p.Wait()
			p.Do("execute", unix.SYS_EXECVE, p.Text("/bin/true"), p.Texts([]string{"true"}), p.Texts(nil))
			null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer null.Close()
			process, err := s.Start(Place{Flags: unix.CLONE_NEWPID | unix.CLONE_NEWNS}, []*os.File{null, null, null}, p)
			if err != nil {
				t.Fatal(err)
			}
			end(s)
			if _, err := process.Wait(); err == nil {
				t.Error("no error")
			}
			gone := func() bool {
				stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", process.PID))
				return err != nil || strings.Contains(string(stat), ") Z ")
			}
			for end := time.Now().Add(time.Minute); !gone(); time.Sleep(10 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("the process is left")
				}
			}
			if s.Alive() {
				t.Error("the starter is said to be there")
			}
			if _, err := s.Start(Place{}, []*os.File{null, null, null}, p); err == nil {
				t.Error("something was started")
			}
		})
	}
}
