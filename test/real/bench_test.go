package real

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// npmrc is where npm keeps its configuration; the tests change $HOME.
var npmrc = filepath.Join(os.Getenv("HOME"), ".npmrc")

// A bench is an example on its way: a copy of its files that is built and edited.
type bench struct {
	t       *testing.T
	example example
	store   string // where strata keeps everything
	dir     string // the copy
	image   string
	args    []string // of every build
	secret  string   // what must not be found in the image
	first   time.Duration
	again   time.Duration
	edited  []time.Duration
	logs    strings.Builder // what the builds printed
}

func newBench(t *testing.T, e example, store string) *bench {
	b := &bench{t: t, example: e, store: store, dir: filepath.Join(t.TempDir(), e.name), image: "real/" + e.name}
	check(t, os.CopyFS(b.dir, os.DirFS(filepath.Join("../../examples/real", e.name))))
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"} {
		if os.Getenv(name) != "" {
			b.args = append(b.args, "--build-arg", name)
		}
	}
	if e.args != nil {
		b.args = append(b.args, e.args(b)...)
	}
	return b
}

// buildAll builds the example from nothing, again, with its own tests, and after each edit.
func (b *bench) buildAll() {
	var steps []step
	steps, b.first = b.build()
	if cached := only(steps, func(s step) bool { return s.cached }); len(cached) == len(steps) {
		b.t.Errorf("the first build runs nothing")
	}
	steps, b.again = b.build()
	if ran := only(steps, func(s step) bool { return !s.cached }); len(ran) > 0 || len(steps) == 0 {
		b.t.Errorf("with nothing changed %d steps of %d ran:\n%s", len(ran), len(steps), strings.Join(ran, "\n"))
	}
	if b.example.check != "" {
		b.build("--target", b.example.check, "-t", b.image+":check")
	}
	for _, e := range b.example.edits {
		b.edit(e)
		steps, took := b.build()
		b.edited = append(b.edited, took)
		for _, s := range steps {
			if want := e.runs(s.instruction); want == s.cached {
				b.t.Errorf("%s edited: cached is %v: %s", e.file, s.cached, s.instruction)
			}
		}
		for _, text := range e.ran {
			if len(only(steps, func(s step) bool { return strings.Contains(s.instruction, text) })) == 0 {
				b.t.Errorf("no step has %q in it", text)
			}
		}
	}
}

func (e edit) runs(instruction string) bool {
	for _, text := range e.ran {
		if strings.Contains(instruction, text) {
			return true
		}
	}
	return false
}

func (b *bench) edit(e edit) {
	b.t.Helper()
	path := filepath.Join(b.dir, e.file)
	text, err := os.ReadFile(path)
	check(b.t, err)
	if !strings.Contains(string(text), e.old) {
		b.t.Fatalf("%s has no %q", e.file, e.old)
	}
	check(b.t, os.WriteFile(path, []byte(strings.Replace(string(text), e.old, e.new, 1)), 0o644))
}

// A step is one that the output tells of.
type step struct {
	instruction string // [stage 1/2] RUN …
	cached      bool
	remark      string // what is said of how it was cached
}

// Plain progress, as BuildKit has it: "#5 [build 2/3] RUN make" and later "#5 CACHED", perhaps with a remark.
var (
	stepLine   = regexp.MustCompile(`(?m)^#(\d+) (\[(?:\S+ )?\d+/\d+\] .*)$`)
	cachedLine = regexp.MustCompile(`(?m)^#(\d+) CACHED\b(?: \((.*)\))?`)
)

// build builds the example as it now is. FROM is no step: nothing runs there.
func (b *bench) build(args ...string) ([]step, time.Duration) {
	b.t.Helper()
	args = append(append([]string{"build", "-t", b.image}, b.args...), args...)
	start := time.Now()
	out := command(b.t, b.dir, "strata", append(args, ".")...)
	took := time.Since(start)
	b.logs.WriteString(out)
	remarks := map[string]string{} // of those that were cached
	for _, match := range cachedLine.FindAllStringSubmatch(out, -1) {
		remarks[match[1]] = match[2]
	}
	var steps []step
	seen := map[string]bool{}
	for _, match := range stepLine.FindAllStringSubmatch(out, -1) {
		if !seen[match[1]] && !strings.Contains(match[2], "] FROM ") {
			remark, cached := remarks[match[1]]
			steps = append(steps, step{match[2], cached, remark})
		}
		seen[match[1]] = true
	}
	return steps, took
}

func only(steps []step, is func(step) bool) []string {
	var instructions []string
	for _, s := range steps {
		if is(s) {
			instructions = append(instructions, s.instruction)
		}
	}
	return instructions
}

// run runs the image's program, or another one where its entrypoint allows that, and returns what it prints.
func (b *bench) run(args ...string) string {
	b.t.Helper()
	return command(b.t, "", "strata", append([]string{"run", b.image}, args...)...)
}

// input runs the image's program with a standard input.
func (b *bench) input(text string, args ...string) string {
	b.t.Helper()
	cmd := exec.CommandContext(b.t.Context(), "strata", append([]string{"run", "-i", b.image}, args...)...)
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.CombinedOutput()
	if err != nil {
		b.t.Fatalf("%s: %v\n%s", b.image, err, out)
	}
	return string(out)
}

func (b *bench) times() string {
	line := fmt.Sprintf("%-16s %6.1f s, again %.2f s, edited", b.example.name, b.first.Seconds(), b.again.Seconds())
	for i, edit := range b.example.edits {
		line += fmt.Sprintf(" %s %.1f s", edit.file, b.edited[i].Seconds())
	}
	return line
}

// npmConfig gives npm what this machine's own npm knows of registries, as a secret: there are passwords in it.
func npmConfig(b *bench) []string {
	config := "cafile=/etc/ssl/certs/ca-certificates.crt\n"
	text, err := os.ReadFile(npmrc)
	if err != nil && !os.IsNotExist(err) {
		b.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "registry=") || strings.HasPrefix(line, "//") || strings.HasPrefix(line, "@") {
			config += strings.TrimSpace(line) + "\n"
		}
	}
	path := filepath.Join(b.t.TempDir(), "npmrc")
	check(b.t, os.WriteFile(path, []byte(config), 0o600))
	return []string{"--secret", "id=npmrc,src=" + path}
}
