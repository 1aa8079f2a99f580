// Package registrytest runs Debian's docker-registry for tests, on a free port of 127.0.0.1 and with its data
// in the test's temporary directory.
package registrytest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// What a registry of StartAuth lets in.
const (
	User     = "strata"
	Password = "correct-horse"
)

// htpasswd is Password for User, with bcrypt, the only form that docker-registry takes.
const htpasswd = User + ":$2b$05$abcdefghijklmnopqrstuuZ0Fx87Pb/Aqb0E90lfvCwzXnaFKUHpS\n"

// Start runs a registry that lets everyone in, and returns its "127.0.0.1:port". It is stopped when the test
// ends; what it logged is shown if the test failed. The test is skipped where docker-registry is missing.
func Start(tb testing.TB) (addr string) {
	tb.Helper()
	return start(tb, "")
}

// StartAuth runs a registry that wants User and Password (basic authentication).
func StartAuth(tb testing.TB) (addr string) {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "htpasswd")
	if err := os.WriteFile(file, []byte(htpasswd), 0o600); err != nil {
		tb.Fatal(err)
	}
	return start(tb, fmt.Sprintf("auth: {htpasswd: {realm: test, path: %q}}\n", file))
}

func start(tb testing.TB, more string) string {
	tb.Helper()
	binary, err := exec.LookPath("docker-registry")
	if err != nil {
		tb.Skip("docker-registry is not installed (apt-get install docker-registry)")
	}
	// Another process may take a port between our finding it free and the registry's taking it.
	for range 3 {
		if addr, ok := try(tb, binary, more); ok {
			return addr
		}
	}
	tb.Fatal("docker-registry did not start")
	return ""
}

func try(tb testing.TB, binary, more string) (addr string, ok bool) {
	tb.Helper()
	dir := tb.TempDir()
	addr = freeAddr(tb)
	config := fmt.Sprintf(`version: 0.1
log: {level: info, accesslog: {disabled: false}}
storage:
  filesystem: {rootdirectory: %q}
  delete: {enabled: true}
http: {addr: %q}
%s`, filepath.Join(dir, "data"), addr, more)
	file := filepath.Join(dir, "config.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		tb.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(binary, "serve", file)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		cmd.Wait() // its status says nothing: the test kills it
		close(exited)
	}()
	tb.Cleanup(func() {
		cmd.Process.Kill()
		<-exited
		log.Close()
		if tb.Failed() {
			if text, err := os.ReadFile(log.Name()); err == nil {
				tb.Logf("docker-registry %s:\n%s", addr, text)
			}
		}
	})
	return addr, answers(addr, exited)
}

func freeAddr(tb testing.TB) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// answers waits until the registry does, or has ended, for 30 s at most.
func answers(addr string, exited <-chan struct{}) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/v2/", nil)
		if err != nil {
			return false
		}
		if resp, err := http.DefaultTransport.RoundTrip(req); err == nil {
			resp.Body.Close()
			return true
		}
		select {
		case <-exited:
			return false
		case <-ctx.Done():
			return false
		case <-time.After(20 * time.Millisecond):
		}
	}
}
