package test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/strata-build/strata/internal/transfer/registry/registrytest"
	"github.com/strata-build/strata/test/testbed"
)

var update = flag.Bool("update", false, "write mistakes/mistakes.md anew")

const mistakesPage = "mistakes/mistakes.md"

// TestMistakes runs the commands of mistakes/mistakes.md and compares what strata prints with what is written there.
func TestMistakes(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("strata builds as root only")
	}
	if testing.Short() {
		t.Skip("needs half a minute: run without -short")
	}
	page, err := os.ReadFile(mistakesPage)
	if err != nil {
		t.Fatal(err)
	}
	m := newMistakes(t)
	got := m.run(t, string(page))
	if *update {
		if err := os.WriteFile(mistakesPage, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != string(page) {
		t.Errorf("%s\nIf that is as it should be: -run TestMistakes -update", firstDifference(string(page), got))
	}
}

// firstDifference shows the part in which two pages differ first, as it was and as it is.
func firstDifference(was, is string) string {
	old, now := strings.Split(was, "\n## "), strings.Split(is, "\n## ")
	for i := range min(len(old), len(now)) {
		if old[i] != now[i] {
			return fmt.Sprintf("%s has\n## %s\nand strata gives\n## %s", mistakesPage, old[i], now[i])
		}
	}
	return "the pages have different numbers of parts"
}

// mistakes is the machine on which the commands are typed.
type mistakes struct {
	dir      string
	env      []string
	replacer *strings.Replacer // of addresses, as the page has them
	typed    *strings.Replacer // the other way round
}

func newMistakes(t *testing.T) *mistakes {
	ctx := context.Background()
	bed := newBed(t)
	store, err := bed.stores["busybox"]()
	if err != nil {
		t.Fatal(err)
	}
	registry, err := testbed.StartRegistry(ctx, filepath.Join(bed.dir, "registry"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(registry.Stop)
	m := &mistakes{dir: filepath.Join(bed.dir, "project")}
	addresses := []string{
		registry.Address, "127.0.0.1:5000", registrytest.StartAuth(t), "127.0.0.1:5001",
		startServer(t, denies), "127.0.0.1:5002", startServer(t, expires), "127.0.0.1:5003",
	}
	m.replacer = strings.NewReplacer(append(addresses, m.dir, "/home/me/project", store.Root, "/var/lib/strata")...)
	slices.Reverse(addresses)
	m.typed = strings.NewReplacer(addresses...)
	m.env = []string{
		"PATH=" + testbed.Path(bed.binary), "HOME=" + bed.dir, "STRATA_ROOT=" + store.Root, "LANG=C", "TERM=dumb",
	}
	return m
}

// startServer starts a registry and returns its address.
func startServer(t *testing.T, answer http.HandlerFunc) string {
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// denies is a registry that knows who asks, and lets nobody do anything.
func denies(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/v2/" {
		http.Error(w, `{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}`, http.StatusForbidden)
	}
}

// expires is a registry whose tokens have expired when they are used.
func expires(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/token" {
		io.WriteString(w, `{"token":"old"}`)
		return
	}
	w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+r.Host+`/token",service="test"`)
	http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"the token has expired"}]}`, http.StatusUnauthorized)
}

var (
	fence    = regexp.MustCompile("^```(\\S+)(?: (\\S+))?$")
	progress = regexp.MustCompile(`(?m)^#\d+ .*\n`)
	blanks   = regexp.MustCompile(`\n{3,}`)
	seconds  = regexp.MustCompile(`(?m)^\d+\.\d+ `)
	imageID  = regexp.MustCompile(`\b[0-9a-f]{12}\b`)
	longID   = regexp.MustCompile(`\b[0-9a-f]{64}\b`)
)

// run gives the page with what the commands print now. A block ```LANGUAGE NAME is a file of the part, a block
// ```console has commands behind $ and their output.
func (m *mistakes) run(t *testing.T, page string) string {
	var out strings.Builder
	var block *strings.Builder
	var language, name string
	for line := range strings.Lines(page) {
		text := strings.TrimSuffix(line, "\n")
		switch open := fence.FindStringSubmatch(text); {
		case block != nil && text == "```":
			m.end(t, &out, language, name, block.String())
			block = nil
		case block != nil:
			block.WriteString(line)
			continue
		case open != nil:
			language, name, block = open[1], open[2], &strings.Builder{}
		case strings.HasPrefix(text, "## "):
			m.begin(t)
		}
		out.WriteString(line)
	}
	return out.String()
}

// begin empties the directory for the next part.
func (m *mistakes) begin(t *testing.T) {
	if err := os.RemoveAll(m.dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(m.dir, 0o755); err != nil {
		t.Fatal(err)
	}
}

// end writes a file, or runs the commands of a block.
func (m *mistakes) end(t *testing.T, out *strings.Builder, language, name, text string) {
	if language != "console" {
		path := filepath.Join(m.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(m.typed.Replace(text)), 0o644); err != nil {
			t.Fatal(err)
		}
		out.WriteString(text)
		return
	}
	for line := range strings.Lines(text) {
		if command, ok := strings.CutPrefix(line, "$ "); ok {
			out.WriteString(line + m.shell(t, strings.TrimSpace(command)))
		}
	}
}

// shell runs a command and gives its output, without the progress and with what differs from run to run made equal, and
// its exit code.
func (m *mistakes) shell(t *testing.T, command string) string {
	cmd := exec.Command("sh", "-c", m.typed.Replace(command))
	cmd.Dir, cmd.Env = m.dir, m.env
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatal(err)
	}
	text := progress.ReplaceAllString(m.replacer.Replace(output.String()), "")
	text = blanks.ReplaceAllString(seconds.ReplaceAllString(text, "0.100 "), "\n\n")
	text = imageID.ReplaceAllString(strings.Trim(text, "\n"), "0123456789ab")
	text = longID.ReplaceAllString(text, "0123456789ab…")
	if text != "" {
		text += "\n"
	}
	return fmt.Sprintf("%s(exit code %d)\n", text, cmd.ProcessState.ExitCode())
}
