package real

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/go-units"

	"github.com/strata-build/strata/internal/cache/places/placetest"
	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/test/testbed"
)

var mountsOn = flag.Bool("mounts", false, "measure what cache mounts that travel save a go build and an npm ci")

const mountsBegins = "<!-- made by make bench-mounts TABLE=docs/cache.md -->\n\n"

// travelling is a project whose cache mounts travel.
type travelling struct {
	name, bases string
	files       map[string]string
	lock        []string  // a command in the base image that makes the lock file
	edit        [2]string // in the file source: what every build changes
	source      string
	bump        [2]string // in the file manifest: another version of one dependency
	manifest    string
}

var projects = []travelling{
	{
		name: "go build", bases: "golang", source: "main.go", manifest: "go.mod",
		lock: []string{"golang:1.19-bookworm", "sh", "-c", "cd /src && GOFLAGS=-mod=mod go mod tidy && rm -rf /go/pkg"},
		edit: [2]string{"edited 0", "edited 1"}, bump: [2]string{"cobra v1.6.1", "cobra v1.7.0"},
		files: map[string]string{
			"Dockerfile": `FROM golang:1.19-bookworm
WORKDIR /src
ENV CGO_ENABLED=0
ARG GOPROXY
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build --mount=type=bind,target=. go build -o /app .
`,
			"go.mod": "module example.com/app\n\ngo 1.19\n\nrequire (\n\tgithub.com/gin-gonic/gin v1.9.1\n\tgithub.com/spf13/cobra v1.6.1\n\tgithub.com/prometheus/client_golang v1.17.0\n\tgoogle.golang.org/grpc v1.58.3\n)\n",
			"main.go": `package main

import (
	"fmt"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"
)

func main() {
	fmt.Println("edited 0", gin.New(), promhttp.Handler(), &cobra.Command{}, grpc.NewServer())
}
`,
		},
	},
	{
		name: "npm ci", bases: "node", source: "package.json", manifest: "package.json",
		lock: []string{"node:18-bookworm-slim", "sh", "-c", "cd /src && npm install --package-lock-only --no-audit --no-fund"},
		edit: [2]string{"edited 0", "edited 1"}, bump: [2]string{`"lodash": "4.17.20"`, `"lodash": "4.17.21"`},
		files: map[string]string{
			"Dockerfile": `FROM node:18-bookworm-slim
WORKDIR /src
COPY package.json package-lock.json ./
RUN --mount=type=cache,target=/root/.npm --mount=type=secret,id=npmrc,target=/root/.npmrc npm ci --no-audit --no-fund
`,
			"package.json": `{"name": "app", "version": "1.0.0", "private": true, "description": "edited 0", "dependencies": {
  "express": "4.21.2", "react": "18.3.1", "react-dom": "18.3.1", "webpack": "5.96.1", "eslint": "8.57.1", "typescript": "5.6.3", "jest": "29.7.0", "lodash": "4.17.20"}}
`,
		},
	},
}

// TestMounts builds on one machine, which sends its cache mounts to a store of objects, and then on empty ones, with what is
// there and without. Each time is the median of three.
func TestMounts(t *testing.T) {
	if !*mountsOn || os.Geteuid() != 0 {
		t.Skip("needs the network, root and some minutes: make bench-mounts")
	}
	dir := t.TempDir()
	binary, err := testbed.Build(t.Context(), dir)
	check(t, err)
	goProxy = strings.TrimSpace(command(t, "", "go", "env", "GOPROXY"))
	t.Setenv("PATH", testbed.Path(binary))
	t.Setenv("HOME", dir)
	t.Setenv("BUILDKIT_PROGRESS", "plain")
	t.Setenv("STRATA_NETWORK", "host")
	t.Setenv("AWS_ACCESS_KEY_ID", placetest.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", placetest.SecretKey)
	rows := []string{"| | time | of mounts, from the store | to the store |\n|---|---|---|---|\n"}
	for _, p := range projects {
		bases := filepath.Join(dir, p.bases)
		if *basesIn != "" {
			bases = *basesIn
		} else {
			t.Setenv("STRATA_ROOT", bases)
			command(t, "", "./bases", p.bases)
		}
		rows = append(rows, p.measure(t, bases))
	}
	fmt.Print(strings.Join(rows, ""))
	if *tableIn != "" && !t.Failed() {
		writeTable(t, *tableIn, mountsBegins, strings.Join(rows, ""))
	}
}

// measured is what some builds took, and what they moved.
type measured struct {
	times    []time.Duration
	from, to int64
}

func (m *measured) String() string {
	slices.Sort(m.times)
	cell := func(n int64) string {
		if n == 0 {
			return ""
		}
		return human.Size(n)
	}
	return fmt.Sprintf(" | %.1f s | %s | %s |\n", m.times[len(m.times)/2].Seconds(), cell(m.from), cell(m.to))
}

// movedLine is what a build says of a mount that has moved.
var movedLine = regexp.MustCompile(`(?s)#(\d+) \[internal\] (\w+) cache mount \S+ (?:to|from) [^\n]*\n#\d+ [0-9.]+ \d+ files, \S+; (\S+) moved\n`)

// moved is how many bytes of mounts a build has brought, or sent.
func moved(t *testing.T, out, verb string) (n int64) {
	for _, match := range movedLine.FindAllStringSubmatch(out, -1) {
		if match[2] == verb {
			size, err := units.FromHumanSize(match[3])
			check(t, err)
			n += size
		}
	}
	return n
}

func (p *travelling) measure(t *testing.T, bases string) string {
	store := filepath.Join(t.TempDir(), "store")
	t.Setenv("STRATA_ROOT", store)
	src := t.TempDir()
	for name, text := range p.files {
		check(t, os.WriteFile(filepath.Join(src, name), []byte(text), 0o644))
	}
	change := func(name string, c [2]string) {
		text, err := os.ReadFile(filepath.Join(src, name))
		check(t, err)
		if !strings.Contains(string(text), c[0]) {
			t.Fatalf("%s has no %q", name, c[0])
		}
		check(t, os.WriteFile(filepath.Join(src, name), []byte(strings.Replace(string(text), c[0], c[1], 1)), 0o644))
	}
	command(t, "", "cp", "-a", bases, store)
	// A machine that has nothing but the base image.
	empty := func() { command(t, "", "strata", "builder", "prune", "-af") }
	lock := func() {
		run := append([]string{"run", "--rm", "--network", "host", "-v", src + ":/src", "-e", "GOPROXY=" + goProxy}, p.lock...)
		command(t, "", "strata", run...)
	}
	server := placetest.StartObjects(t)
	place := "type=s3,bucket=cache,use_path_style=true,endpoint_url=" + server.URL
	build := func(m *measured, args ...string) string {
		start := time.Now()
		all := append([]string{"build", "-t", "app", "--build-arg", "GOPROXY=" + goProxy, "--secret", "id=npmrc,src=" + npmrc}, args...)
		out := command(t, src, "strata", append(all, ".")...)
		m.times = append(m.times, time.Since(start))
		m.from, m.to = moved(t, out, "restore"), moved(t, out, "export")
		return out
	}
	var first, without, with, bumped measured
	empty()
	lock()
	empty()
	build(&first, "--cache-to", place+",mounts=all")
	change(p.source, p.edit)
	for range 3 {
		empty()
		build(&without, "--cache-from", place+",mounts=none")
		empty()
		if out := build(&with, "--cache-from", place); !strings.Contains(out, "restore cache mount") {
			t.Errorf("%s: nothing was restored:\n%s", p.name, out)
		}
	}
	// One dependency in another version, on the machine that has the mount now.
	change(p.manifest, p.bump)
	lock()
	build(&bumped, "--cache-to", place+",mounts=all")
	return "| " + p.name + ": the first machine, which sends its mounts" + first.String() +
		"| an edit, on an empty machine without them" + without.String() +
		"| the same with them" + with.String() +
		"| one dependency in another version, where the mounts are; they are sent again" + bumped.String()
}
