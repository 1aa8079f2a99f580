package real

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// startTime is how long a server may take to listen, and to stop.
const startTime = 30 * time.Second

// A server is an image that runs, on a free port of 127.0.0.1.
type server struct {
	t     *testing.T
	image string
	port  string
}

// serve starts the image with PORT set and waits until something listens there. The end of the test stops it, with the
// signal that the image asks for.
func (b *bench) serve() *server {
	b.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(b.t, err)
	_, port, err := net.SplitHostPort(listener.Addr().String())
	check(b.t, err)
	check(b.t, listener.Close())

	var out bytes.Buffer
	cmd := exec.Command("strata", "run", "-e", "PORT="+port, b.image)
	cmd.Stdout, cmd.Stderr = &out, &out
	check(b.t, cmd.Start())
	ended := make(chan struct{})
	go func() {
		cmd.Wait()
		close(ended)
	}()
	stop := syscall.SIGTERM
	name := command(b.t, "", "strata", "inspect", "--format", "{{.Config.StopSignal}}", b.image)
	if name = strings.TrimSpace(name); name != "" {
		stop = unix.SignalNum(name)
	}
	b.t.Cleanup(func() {
		cmd.Process.Signal(stop)
		select {
		case <-ended:
		case <-time.After(startTime):
			b.t.Errorf("%s did not stop when asked to", b.image)
			cmd.Process.Kill()
			<-ended
		}
	})
	for deadline := time.Now().Add(startTime); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			conn.Close()
			return &server{b.t, b.image, port}
		}
		select {
		case <-ended:
			b.t.Fatalf("%s ended:\n%s", b.image, out.String())
		default:
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("%s does not listen on %s", b.image, port)
		}
	}
}

// get expects an answer that has want in it.
func (s *server) get(path, want string) {
	s.t.Helper()
	response, err := http.Get("http://127.0.0.1:" + s.port + path)
	check(s.t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	check(s.t, err)
	if response.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
		s.t.Errorf("%s: %s, without %q:\n%s", path, response.Status, want, body)
	}
}

// header is a header of the answer to somebody who accepts an encoding.
func (s *server) header(path, name, accept string) string {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://127.0.0.1:"+s.port+path, nil)
	check(s.t, err)
	request.Header.Set("Accept-Encoding", accept)
	response, err := http.DefaultClient.Do(request)
	check(s.t, err)
	check(s.t, response.Body.Close())
	return response.Header.Get(name)
}

// healthy runs the image's HEALTHCHECK beside the server, in a container of its own: their network is the same.
func (s *server) healthy() {
	s.t.Helper()
	var test []string
	out := command(s.t, "", "strata", "inspect", "--format", "{{json .Config.Healthcheck.Test}}", s.image)
	check(s.t, json.Unmarshal([]byte(out), &test))
	if len(test) < 2 {
		s.t.Fatalf("the image has no HEALTHCHECK: %s", out)
	}
	if test[0] == "CMD-SHELL" {
		test = []string{"", "/bin/sh", "-c", test[1]}
	}
	health := func(port string) (string, error) {
		args := append([]string{"run", "-e", "PORT=" + port, "--entrypoint", test[1], s.image}, test[2:]...)
		out, err := exec.CommandContext(s.t.Context(), "strata", args...).CombinedOutput()
		return string(out), err
	}
	if out, err := health(s.port); err != nil {
		s.t.Errorf("the health check fails while the server answers: %v\n%s", err, out)
	}
	if _, err := health("1"); err == nil {
		s.t.Errorf("the health check succeeds where nothing answers")
	}
}
