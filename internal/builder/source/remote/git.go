package remote

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/builder/source/address"
)

// errNoGit says that there is no git program.
var errNoGit = errors.New("a git repository needs the program git, which is not on this machine: install it (apt-get install git), or give an archive of the repository")

// git runs the git program so that nothing but its arguments decides what it does: no configuration of the machine or
// the person, no hooks, no questions, and no protocol but those that a reference can name. A submodule therefore
// cannot lead to a file of this machine (CVE-2022-39253).
type git struct {
	// auth are settings with the authorization, name and value. They go through the environment, where other users
	// of the machine do not see them.
	auth []string
	// agent is the socket of an ssh agent, "" for none.
	agent string
	// known is the file in which the keys of ssh hosts are remembered.
	known string
	// local lets it fetch from a path of this machine, and from nowhere else.
	local bool
	// moved, if not nil, is told how many bytes of objects a fetch with --progress has received.
	moved func(int64)
}

// repository is the configuration that every call has.
func (g *git) config() []string {
	return append([]string{
		"core.hooksPath", os.DevNull, "core.fsmonitor", "false", "credential.helper", "", "gc.auto", "0", "maintenance.auto", "false",
		"advice.detachedHead", "false", "init.defaultBranch", "master", "submodule.recurse", "false", "protocol.file.allow", "user",
		"transfer.bundleURI", "false", "fetch.unpackLimit", "1", "core.protectHFS", "true", "core.protectNTFS", "true",
	}, g.auth...)
}

func (g *git) environment() []string {
	protocols := "http:https:git:ssh"
	if g.local {
		protocols = "file"
	}
	ssh := "ssh -F " + os.DevNull + " -o BatchMode=yes -o StrictHostKeyChecking=accept-new -o IdentityFile=none"
	if !strings.ContainsAny(g.known, "'\"%$\\\n") { // what neither the shell nor ssh minds
		ssh += " -o 'UserKnownHostsFile=\"" + g.known + "\" ~/.ssh/known_hosts'"
	}
	env := []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.DevNull, "LC_ALL=C",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + os.DevNull, "GIT_ATTR_NOSYSTEM=1",
		"GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=true", "GIT_ALLOW_PROTOCOL=" + protocols, "GIT_SSH_COMMAND=" + ssh,
	}
	if g.agent != "" {
		env = append(env, "SSH_AUTH_SOCK="+g.agent)
	}
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	config := g.config()
	env = append(env, fmt.Sprintf("GIT_CONFIG_COUNT=%d", len(config)/2))
	for i, pair := range slices.Collect(slices.Chunk(config, 2)) {
		env = append(env, fmt.Sprintf("GIT_CONFIG_KEY_%d=%s", i, pair[0]), fmt.Sprintf("GIT_CONFIG_VALUE_%d=%s", i, pair[1]))
	}
	return env
}

// gitError is a git that failed, with the end of what it said.
type gitError struct {
	said string
	err  error
}

func (e *gitError) Error() string {
	if e.said == "" {
		return "git: " + e.err.Error()
	}
	return e.said
}

// run runs git and returns what it prints. env adds to the environment.
func (g *git) run(ctx context.Context, env []string, args ...string) (string, error) {
	program, err := exec.LookPath("git")
	if err != nil {
		return "", errNoGit
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(g.environment(), env...)
	cmd.Dir = "/"
	var out, said bytes.Buffer
	progress := &gitProgress{said: &said, moved: g.moved}
	cmd.Stdout, cmd.Stderr = &out, progress
	// git starts helpers, which have to end with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	err = withUmask(0o022, cmd.Run)
	progress.flush()
	if err != nil {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		return "", &gitError{lastLines(said.String()), err}
	}
	return out.String(), nil
}

// withUmask runs f, which starts a process that shall have the umask: modes of a checkout follow from it. The thread
// gets a umask of its own, and goes with the goroutine.
func withUmask(mask int, f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_FS); err == nil {
			unix.Umask(mask)
		}
		result <- f()
	}()
	return <-result
}

// lastLines is the end of what git said, on one line.
func lastLines(said string) string {
	lines := strings.FieldsFunc(said, func(r rune) bool { return r == '\n' || r == '\r' }) // ssh ends lines with \r
	lines = slices.DeleteFunc(lines, func(l string) bool {
		return strings.TrimSpace(l) == "" || strings.HasPrefix(l, "Please make sure") || strings.HasPrefix(l, "and the repository exists") || strings.HasPrefix(l, "hint:") || strings.HasPrefix(l, "Cloning into")
	})
	lines = lines[max(0, len(lines)-3):]
	for i, l := range lines {
		lines[i] = strings.TrimPrefix(strings.TrimSpace(l), "fatal: ")
	}
	return strings.Join(lines, "; ")
}

// gitFor is git with what the build may use for a repository: GIT_AUTH_HEADER and GIT_AUTH_TOKEN, first those for the
// repository's host alone (BuildKit, source/git), and the ssh agent.
func (f *Fetcher) gitFor(r *address.Repository) (*git, error) {
	g := &git{known: filepath.Join(f.Store.Root(), "ssh_known_hosts"), auth: password(r.Remote)}
	if r.SSH() {
		if f.SSH == nil {
			return g, nil
		}
		var err error
		g.agent, err = f.SSH()
		return g, err
	}
	host := r.Host()
	id, value, err := f.secret("GIT_AUTH_HEADER."+host, "GIT_AUTH_TOKEN."+host, "GIT_AUTH_HEADER", "GIT_AUTH_TOKEN")
	if err != nil || id == "" {
		return g, err
	}
	text := strings.TrimSpace(string(value))
	if strings.HasPrefix(id, "GIT_AUTH_TOKEN") {
		text = "basic " + base64.StdEncoding.EncodeToString([]byte("x-access-token:"+text))
	}
	g.auth = append(g.auth, "http."+authScope(r.Remote)+".extraheader", "Authorization: "+text)
	return g, nil
}

// password is the setting by which git, which is given addresses without their password (address.Redact), finds it: so
// that it stands neither in the arguments of a process nor in the .git of a clone, where a submodule's address, made of
// its parent's, would bring it.
func password(repository string) []string {
	u, err := url.Parse(repository)
	if err != nil || address.Redact(repository) == repository {
		return nil
	}
	host := url.URL{Scheme: u.Scheme, User: u.User, Host: u.Host, Path: "/"}
	return []string{"url." + host.String() + ".insteadOf", host.Redacted()}
}

// authScope is for which addresses an authorization holds: this repository alone, but for GitHub, where submodules
// mostly need the same (as BuildKit and actions/checkout have it).
func authScope(address string) string {
	const github = "https://github.com/"
	if strings.HasPrefix(address, github) {
		return github
	}
	return address
}
