// Package fleet has three machines build the same Dockerfile at once: each is a network name space with a store of its own,
// and all reach a registry and a queue of three servers.
//
//   - In sum each step runs once, and all machines get an image with one ID.
//   - So they do where a machine is killed in the middle, where a server of the queue is, and where the network of a
//     machine is cut for a while; then a step may run twice, and what counts is one of the results.
package fleet

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/strata-build/strata/internal/cache/places/placetest"
	"github.com/strata-build/strata/test/testbed"
)

var (
	stages = flag.Int("stages", 12, "how many stages the Dockerfile has")
	cut    = flag.Duration("cut", 20*time.Second, "for how long the network of a machine is cut")
)

// inside is set in the environment of the process that has a network of its own.
const inside = "STRATA_TEST_NETWORK"

func TestMain(m *testing.M) {
	flag.Parse()
	if os.Geteuid() == 0 && os.Getenv(inside) == "" && !testing.Short() {
		// All servers and machines are in a network name space that ends with this process.
		err := enterNetwork()
		fmt.Fprintln(os.Stderr, "a network of its own:", err)
		os.Exit(1)
	}
	os.Exit(testbed.Main(m))
}

func enterNetwork() error {
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return syscall.Exec(unshare, append([]string{"unshare", "-n", "--", self}, os.Args[1:]...), append(os.Environ(), inside+"=1"))
}

// hub is the address of all servers.
const hub = "10.99.0.1"

// site is what the machines share.
type site struct {
	t        *testing.T
	binary   string
	base     *testbed.Store
	dir      string
	queue    *testbed.Queue
	url      string // of the queue, as machines reach it
	registry string
	machines []*machine
}

func newSite(t *testing.T) *site {
	t.Helper()
	t.Parallel() // most of the time all wait
	if testing.Short() {
		t.Skip("needs half a minute: run without -short")
	}
	if os.Geteuid() != 0 {
		t.Skip("network name spaces need root")
	}
	s := &site{t: t, dir: t.TempDir()}
	ctx := context.Background()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	s.binary, err = testbed.Build(ctx, s.dir)
	check(err)
	s.base, err = testbed.MakeStore(ctx, s.binary, filepath.Join(s.dir, "base"), false)
	check(err)
	s.ip("link", "set", "lo", "up")
	s.ip("addr", "replace", hub+"/32", "dev", "lo")
	s.queue, err = testbed.StartQueue(ctx, s.dir, 3)
	check(err)
	t.Cleanup(s.queue.Stop)
	var urls []string
	for _, u := range strings.Split(s.queue.URL, ",") {
		urls = append(urls, "nats://"+s.forward(strings.TrimPrefix(u, "nats://")))
	}
	s.url = strings.Join(urls, ",")
	registry, err := testbed.StartRegistry(ctx, filepath.Join(s.dir, "registry"))
	check(err)
	t.Cleanup(registry.Stop)
	s.registry = s.forward(registry.Address)
	check(os.WriteFile(filepath.Join(s.dir, "config.toml"), fmt.Appendf(nil, "insecure-registries = [%q]\n", s.registry), 0o644))
	s.write("app", *stages)
	for range 3 {
		s.machines = append(s.machines, s.newMachine(int(machines.Add(1))))
	}
	return s
}

// machines counts those of all sites, each of which has a network of its own.
var machines atomic.Int32

func (s *site) ip(args ...string) {
	s.t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		s.t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// forward has a server of the loopback answer at the hub's address, and gives that.
func (s *site) forward(address string) string {
	_, port, _ := net.SplitHostPort(address)
	listener, err := net.Listen("tcp", net.JoinHostPort(hub, port))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				to, err := net.Dial("tcp", address)
				if err != nil {
					return
				}
				defer to.Close()
				go func() {
					_, _ = io.Copy(to, c)
					to.Close()
				}()
				_, _ = io.Copy(c, to)
			}()
		}
	}()
	return listener.Addr().String()
}

// write writes the Dockerfile: four lines of stages, each on the one before it, and one that copies from the last of each.
func (s *site) write(name string, stages int) {
	var b strings.Builder
	const lines = 4
	for i := range stages - 1 {
		from := "busybox"
		if i >= lines {
			from = fmt.Sprintf("s%d", i-lines)
		}
		fmt.Fprintf(&b, "FROM %s AS s%d\nRUN --network=none echo at %d; sleep 0.3; head -c 9 /dev/urandom | base64 >/out-%d\n", from, i, i, i)
	}
	b.WriteString("FROM busybox\n")
	for i := max(0, stages-1-lines); i < stages-1; i++ {
		fmt.Fprintf(&b, "COPY --from=s%d /out-%d /\n", i, i)
	}
	b.WriteString("RUN --network=none cat /out-* >/all\n")
	dir := filepath.Join(s.dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(b.String()), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// machine is a network name space and a store.
type machine struct {
	site   *site
	number int
	name   string
	root   string
	env    []string  // beside what all have
	pause  *exec.Cmd // keeps the name space
	worker *exec.Cmd
	log    string // of the worker
	build  *exec.Cmd
	out    strings.Builder
}

func (s *site) newMachine(n int) *machine {
	m := &machine{site: s, number: n, name: fmt.Sprintf("m%d", n), root: filepath.Join(s.dir, fmt.Sprintf("store-%d", n))}
	m.log = filepath.Join(s.dir, m.name+".log")
	if err := s.base.Copy(context.Background(), m.root); err != nil {
		s.t.Fatal(err)
	}
	m.pause = exec.Command("unshare", "-n", "--kill-child", "sleep", "infinity")
	m.pause.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := m.pause.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = m.pause.Process.Kill()
		_ = m.pause.Wait()
	})
	pid := fmt.Sprint(m.pause.Process.Pid)
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		s.t.Fatal(err)
	}
	for there := own; there == own; time.Sleep(5 * time.Millisecond) {
		if there, err = os.Readlink("/proc/" + pid + "/ns/net"); err != nil {
			s.t.Fatal(err)
		}
	}
	s.ip("link", "add", m.name, "type", "veth", "peer", "name", "eth0", "netns", pid)
	s.ip("addr", "add", fmt.Sprintf("10.99.%d.1/30", n), "dev", m.name)
	s.ip("link", "set", m.name, "up")
	for _, args := range [][]string{
		{"link", "set", "lo", "up"}, {"addr", "add", fmt.Sprintf("10.99.%d.2/30", n), "dev", "eth0"}, {"link", "set", "eth0", "up"},
		{"route", "add", "default", "via", fmt.Sprintf("10.99.%d.1", n)},
	} {
		if out, err := m.command("ip", args...).CombinedOutput(); err != nil {
			s.t.Fatalf("ip %v: %v: %s", args, err, out)
		}
	}
	return m
}

// command is one that runs on the machine, with a host name of its own.
func (m *machine) command(name string, args ...string) *exec.Cmd {
	line := append([]string{"-t", fmt.Sprint(m.pause.Process.Pid), "-n", "--", "unshare", "-u", "--", "sh", "-c", `hostname "$0"; exec "$@"`, m.name, name}, args...)
	cmd := exec.Command("nsenter", line...)
	cmd.Env = append(append(os.Environ(), "STRATA_ROOT="+m.root, "STRATA_CONFIG="+filepath.Join(m.site.dir, "config.toml")), m.env...)
	return cmd
}

func (m *machine) cache() string { return "type=registry,ref=" + m.site.registry + "/depot" }

// startWorker starts a worker and waits until it is ready.
func (m *machine) startWorker() {
	log, err := os.Create(m.log)
	if err != nil {
		m.site.t.Fatal(err)
	}
	defer log.Close()
	m.worker = m.command(m.site.binary, "worker", "--queue", m.site.url, "--cache", m.cache(), "--slots", "2", "--name", m.name)
	m.worker.Stderr = log
	if err := m.worker.Start(); err != nil {
		m.site.t.Fatal(err)
	}
	m.site.t.Cleanup(m.stopWorker)
	for deadline := time.Now().Add(time.Minute); !strings.Contains(m.read(), "its key"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			m.site.t.Fatalf("the worker of %s does not start: %s", m.name, m.read())
		}
	}
}

func (m *machine) read() string {
	data, _ := os.ReadFile(m.log)
	return string(data)
}

func (m *machine) stopWorker() {
	if m.worker == nil {
		return
	}
	_ = m.worker.Process.Signal(os.Interrupt)
	_ = m.worker.Wait()
	m.worker = nil
}

// kill ends all that runs on the machine at once.
func (m *machine) kill() {
	for _, cmd := range []*exec.Cmd{m.build, m.worker} {
		if cmd != nil {
			_ = cmd.Process.Kill()
		}
	}
	if m.worker != nil {
		_ = m.worker.Wait()
		m.worker = nil
	}
}

// startBuild begins the build, with flags that say what the machines share.
func (m *machine) startBuild(flags ...string) {
	m.build = m.command(m.site.binary, append([]string{"build", "--progress=plain", "-t", "me/app", filepath.Join(m.site.dir, "app")}, flags...)...)
	m.build.Stdout, m.build.Stderr = &m.out, &m.out
	if err := m.build.Start(); err != nil {
		m.site.t.Fatal(err)
	}
}

// id is that of the image that the machine has.
func (m *machine) id() string {
	out, err := m.command(m.site.binary, "inspect", "--format", "{{.Id}}", "me/app").CombinedOutput()
	if err != nil {
		m.site.t.Fatalf("%s: %s", m.name, out)
	}
	return strings.TrimSpace(string(out))
}

// build has the machines build at once, and something happen in the middle. It gives how often a step ended well, in sum.
func (s *site) build(happens func()) {
	s.t.Helper()
	for _, m := range s.machines {
		m.startWorker()
	}
	for _, m := range s.machines {
		m.startBuild("--queue", s.url)
	}
	if happens != nil {
		s.await(*stages / 3)
		happens()
	}
	s.wait()
}

// wait waits for the builds of all machines.
func (s *site) wait() {
	s.t.Helper()
	var wg sync.WaitGroup
	errs := make([]error, len(s.machines))
	for i, m := range s.machines {
		wg.Go(func() { errs[i] = m.build.Wait() })
	}
	wg.Wait()
	for i, m := range s.machines {
		if killed := isKilled(errs[i]); errs[i] != nil && !killed {
			s.t.Errorf("%s: %v\n%s\nits worker:\n%s", m.name, errs[i], m.out.String(), m.read())
		}
	}
	if s.t.Failed() {
		s.t.FailNow()
	}
}

func isKilled(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled()
}

var ran = regexp.MustCompile(`(?m)msg="step ended".*outcome=ran`)

// ran is how many steps workers have run.
func (s *site) ran() int {
	n := 0
	for _, m := range s.machines {
		n += len(ran.FindAllString(m.read(), -1))
	}
	return n
}

// await waits until some steps have run.
func (s *site) await(steps int) {
	for deadline := time.Now().Add(2 * time.Minute); s.ran() < steps; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("only %d steps have run", s.ran())
		}
	}
}

// same wants the machines that were not killed to have one image.
func (s *site) same(machines ...*machine) {
	s.t.Helper()
	ids := map[string][]string{}
	for _, m := range machines {
		ids[m.id()] = append(ids[m.id()], m.name)
	}
	if len(ids) != 1 {
		s.t.Errorf("images differ: %v", ids)
		for _, m := range machines {
			s.t.Logf("%s:\n%s", m.name, m.out.String())
		}
	}
}

// Each step runs once in sum, whoever asks for it.
func TestTogether(t *testing.T) {
	s := newSite(t)
	began := time.Now()
	s.build(nil)
	s.same(s.machines...)
	if n := s.ran(); n != *stages {
		t.Errorf("%d steps were run for %d", n, *stages)
	}
	used := 0
	for _, m := range s.machines {
		if ran.MatchString(m.read()) {
			used++
		}
	}
	if used < 2 {
		t.Errorf("only %d worker ran steps", used)
	}
	t.Logf("%d stages on three machines: %d steps ran, in %s", *stages, s.ran(), time.Since(began).Round(time.Millisecond))
}

// Machines that share a bucket and no queue run each step once too. One that comes later, with an empty store, runs none, and
// moves no layer.
func TestBucket(t *testing.T) {
	s := newSite(t)
	server, stop := placetest.NewObjects()
	t.Cleanup(stop)
	bucket := "type=s3,bucket=cache,use_path_style=true,endpoint_url=http://" + s.forward(strings.TrimPrefix(server.URL, "http://"))
	late := s.machines[2]
	for _, m := range s.machines {
		m.env = []string{"AWS_ACCESS_KEY_ID=" + placetest.AccessKey, "AWS_SECRET_ACCESS_KEY=" + placetest.SecretKey}
	}
	s.machines = s.machines[:2]
	for _, m := range s.machines {
		m.startBuild("--cache-from", bucket, "--cache-to", bucket+",mode=max")
	}
	s.wait()
	s.same(s.machines...)
	runs := strings.Count(s.machines[0].explain(), "\nran ") + strings.Count(s.machines[1].explain(), "\nran ")
	copies := min(4, *stages-1)
	if want := *stages + copies; runs != want {
		t.Errorf("%d steps were run for %d", runs, want)
	}
	server.Count("GET")
	late.startBuild("--cache-from", bucket)
	s.machines = append(s.machines, late)
	if err := late.build.Wait(); err != nil {
		t.Fatalf("%v: %s", err, late.out.String())
	}
	s.same(s.machines...)
	if text := late.explain(); strings.Contains(text, "\nran ") {
		t.Errorf("the machine that came later ran steps:\n%s", text)
	}
	if requests, sent := server.Count("GET"); sent > 64<<10 {
		t.Errorf("%d requests gave it %d bytes", requests, sent)
	}
	t.Logf("%d stages, two machines at once and one later: %d steps ran", *stages, runs)
}

// explain is what became of the steps of the machine's last build.
func (m *machine) explain() string {
	out, err := m.command(m.site.binary, "explain").CombinedOutput()
	if err != nil {
		m.site.t.Fatalf("%s: %s", m.name, out)
	}
	return string(out)
}

// A machine that is killed with its build and its worker stops nobody.
func TestMachineKilled(t *testing.T) {
	s := newSite(t)
	began := time.Now()
	s.build(func() { s.machines[0].kill() })
	s.same(s.machines[1:]...)
	// Started again, it clears away what it left.
	if out, err := s.machines[0].command(s.binary, "images").CombinedOutput(); err != nil {
		t.Errorf("the killed machine, started again: %v: %s", err, out)
	}
	t.Logf("%d stages, a machine killed: %d steps ran, in %s", *stages, s.ran(), time.Since(began).Round(time.Millisecond))
}

// A server of the queue that is killed stops nobody.
func TestServerKilled(t *testing.T) {
	s := newSite(t)
	began := time.Now()
	s.build(func() { s.queue.Kill(0) })
	s.same(s.machines...)
	t.Logf("%d stages, a server killed: %d steps ran, in %s", *stages, s.ran(), time.Since(began).Round(time.Millisecond))
}

// A machine whose network is cut for a while goes on when it is back, or its steps go on elsewhere.
func TestNetworkCut(t *testing.T) {
	s := newSite(t)
	began := time.Now()
	s.build(func() {
		m := s.machines[0].name
		s.ip("link", "set", m, "down")
		time.Sleep(*cut)
		s.ip("link", "set", m, "up")
	})
	s.same(s.machines...)
	t.Logf("%d stages, the network of a machine cut for %s: %d steps ran, in %s", *stages, *cut, s.ran(), time.Since(began).Round(time.Millisecond))
}
