package tracefs_test

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/observed"
	"github.com/strata-build/strata/internal/sandbox/tracefs"
)

// layerOf is a layer with a file.
func layerOf(t testing.TB, name, text string) tracefs.Layer {
	f, err := os.Create(filepath.Join(t.TempDir(), "files"))
	check(t, err)
	t.Cleanup(func() { f.Close() })
	_, err = f.WriteString(text)
	check(t, err)
	toc, err := layer.NewTOC([]*layer.Entry{{Path: name, Type: layer.File, Mode: 0o644, Size: int64(len(text))}})
	check(t, err)
	return tracefs.Layer{TOC: toc, View: observed.NewView(toc), Files: f}
}

// children are the processes that this one has started, and that have not ended.
func children(t testing.TB) (pids []int) {
	threads, err := filepath.Glob("/proc/self/task/*/children")
	check(t, err)
	for _, name := range threads {
		b, _ := os.ReadFile(name)
		for word := range strings.FieldsSeq(string(b)) {
			pid, err := strconv.Atoi(word)
			check(t, err)
			pids = append(pids, pid)
		}
	}
	return pids
}

// A server that is killed is an error to who reads, and to who asks what was read; the next mount has a new one.
func TestServerIsKilled(t *testing.T) {
	needFUSE(t)
	for range 2 {
		m, err := tracefs.Serve(filepath.Join(t.TempDir(), "served"), []tracefs.Layer{layerOf(t, "a", "text")})
		check(t, err)
		b, err := os.ReadFile(filepath.Join(m.Dir(0), "a"))
		if string(b) != "text" || err != nil {
			t.Errorf("it reads %q, %v", b, err)
		}
		recorders, err := m.Asked()
		check(t, err)
		if in := recorders[0].Tree("", "").Inputs; len(in) != 1 || in[0].Path != "a" || in[0].Asked&observed.Read == 0 {
			t.Errorf("it was asked %v", in)
		}
		for _, pid := range children(t) {
			check(t, syscall.Kill(pid, syscall.SIGKILL))
		}
		for err = nil; err == nil; { // the kernel's cache answers for as long as there is a server
			_, err = os.Stat(filepath.Join(m.Dir(0), strconv.FormatInt(time.Now().UnixNano(), 10)))
			if errors.Is(err, os.ErrNotExist) {
				err = nil
			}
		}
		if _, err := m.Asked(); !errors.Is(err, tracefs.ErrFailed) {
			t.Errorf("it was asked: %v", err)
		}
		check(t, m.Detach())
		check(t, m.Close())
	}
}

// Who serves layers and is killed leaves no server and no connection, whatever it waits for.
func TestWhoServesIsKilled(t *testing.T) {
	needFUSE(t)
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestServe$")
	dir := t.TempDir()
	cmd.Env = append(os.Environ(), serveIn+"="+dir)
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	line := make([]byte, 16)
	n, err := io.ReadAtLeast(out, line, 1) // it serves
	check(t, err)
	server, err := strconv.Atoi(strings.TrimSpace(string(line[:n])))
	check(t, err)
	check(t, cmd.Process.Kill())
	_ = cmd.Wait()
	for alive := error(nil); alive == nil; time.Sleep(time.Millisecond) {
		_, alive = os.Readlink("/proc/" + strconv.Itoa(server) + "/exe") // fails too if nobody has waited for it yet
	}
	if _, err := os.ReadDir(filepath.Join(dir, "served")); !errors.Is(err, syscall.ENOTCONN) && !errors.Is(err, syscall.ECONNABORTED) {
		t.Errorf("what was served answers: %v", err)
	}
	check(t, syscall.Unmount(filepath.Join(dir, "served"), syscall.MNT_DETACH))
}

// serveIn names the variable that makes a test one that serves a layer, and prints the number of its server.
const serveIn = "STRATA_TEST_SERVE_IN"

func TestServe(t *testing.T) {
	dir := os.Getenv(serveIn)
	if dir == "" {
		t.Skip("is run by TestWhoServesIsKilled")
	}
	_, err := tracefs.Serve(filepath.Join(dir, "served"), []tracefs.Layer{layerOf(t, "a", "text")})
	check(t, err)
	os.Stdout.WriteString(strconv.Itoa(children(t)[0]) + "\n")
	time.Sleep(time.Hour) // until it is killed
}
