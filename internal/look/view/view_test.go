package view

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/look/timeline"
)

func TestMode(t *testing.T) {
	for _, c := range []struct {
		kind layer.Type
		mode uint32
		want string
	}{
		{layer.File, 0o644, "-rw-r--r--"},
		{layer.File, 0, "----------"},
		{layer.Dir, 0o755, "drwxr-xr-x"},
		{layer.Dir, 0o1777, "drwxrwxrwt"},
		{layer.Dir, 0o1776, "drwxrwxrwT"},
		{layer.Dir, 0o2750, "drwxr-s---"},
		{layer.File, 0o4755, "-rwsr-xr-x"},
		{layer.File, 0o4644, "-rwSr--r--"},
		{layer.File, 0o2644, "-rw-r-Sr--"},
		{layer.File, 0o7777, "-rwsrwsrwt"},
		{layer.Symlink, 0o777, "lrwxrwxrwx"},
		{layer.Char, 0o620, "crw--w----"},
		{layer.Block, 0o660, "brw-rw----"},
		{layer.Fifo, 0o600, "prw-------"},
	} {
		if got := Mode(c.kind, c.mode); got != c.want {
			t.Errorf("%c %04o: %s, expected %s", c.kind, c.mode, got, c.want)
		}
	}
}

// config makes a configuration.
func config(change func(c *image.Config)) *image.Config {
	c := &image.Config{}
	c.OS, c.Architecture = "linux", "amd64"
	if change != nil {
		change(c)
	}
	return c
}

func TestCompareConfigs(t *testing.T) {
	for _, c := range []struct {
		name          string
		before, after *image.Config
		want          string
	}{
		{"nothing before", nil, config(func(c *image.Config) { c.Config.User = "nobody" }), "+PLATFORM=linux/amd64 +USER=nobody"},
		{"the same", config(nil), config(nil), ""},
		{"times do not count", config(nil), config(func(c *image.Config) {
			now := time.Now()
			c.Created, c.History = &now, []image.History{{CreatedBy: "x"}}
		}), ""},
		{"variables", config(func(c *image.Config) { c.Config.Env = []string{"A=1", "B=1", "C=1"} }),
			config(func(c *image.Config) { c.Config.Env = []string{"C=1", "A=2=3", "D="} }), "~ENV A=1→2=3 -ENV B=1 +ENV D="},
		{"of two of one name the first", config(func(c *image.Config) { c.Config.Env = []string{"A=1", "A=2"} }),
			config(func(c *image.Config) { c.Config.Env = []string{"A=2"} }), "~ENV A=1→2"},
		{"a command", config(func(c *image.Config) { c.Config.Cmd = []string{"sh"} }),
			config(func(c *image.Config) { c.Config.Cmd = []string{"sh", "-c", `"x"`}; c.Config.Entrypoint = []string{} }),
			`~CMD=["sh"]→["sh", "-c", "\"x\""] +ENTRYPOINT=[]`},
		{"sets", config(func(c *image.Config) {
			c.Config.ExposedPorts = map[string]struct{}{"80/tcp": {}, "53/udp": {}}
			c.Config.Labels = map[string]string{"a": "1", "b": ""}
		}), config(func(c *image.Config) {
			c.Config.ExposedPorts = map[string]struct{}{"80/tcp": {}, "81/tcp": {}}
			c.Config.Volumes = map[string]struct{}{"/data": {}}
			c.Config.Labels = map[string]string{"a": "2"}
		}), "-EXPOSE 53/udp= +EXPOSE 81/tcp= ~LABEL a=1→2 -LABEL b= +VOLUME /data="},
		{"a check, triggers and a variant", config(func(c *image.Config) { c.Config.OnBuild = []string{"RUN a", "RUN b"} }),
			config(func(c *image.Config) {
				c.Config.OnBuild = []string{"RUN a"}
				c.Config.Healthcheck = &image.Healthcheck{Test: []string{"CMD", "x"}, Interval: time.Minute, Retries: 3}
				c.Variant = "v2"
			}), `+HEALTHCHECK=["CMD", "x"] interval=1m0s timeout=0s start-period=0s start-interval=0s retries=3 ` +
				"-ONBUILD 2=RUN b ~PLATFORM=linux/amd64→linux/amd64/v2"},
		{"what is set to nothing is not there", config(func(c *image.Config) { c.Config.WorkingDir = "/app" }), config(nil), "-WORKDIR=/app"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var words []string
			for _, d := range CompareConfigs(c.before, c.after) {
				word := signs[d.Change] + d.Field
				if d.Key != "" {
					word += " " + d.Key
				}
				word += "=" + d.Before
				if d.Change == "changed" {
					word += "→"
				}
				words = append(words, word+d.After)
			}
			if d := cmp.Diff(c.want, strings.Join(words, " ")); d != "" {
				t.Errorf("(-expected +told)\n%s", d)
			}
		})
	}
}

// Each waste has the advice that removes it: a part of what is said.
func TestAdvice(t *testing.T) {
	const base = 2 // layers
	for _, c := range []struct {
		of     int // layer
		by     string
		change string
		what   layer.Attributes
		path   string
		want   string
	}{
		{1, "ADD rootfs.tar /", "removed", 0, "/usr/share/doc/x", "stay in the base image"},
		{2, "RUN apt-get install x", "removed", 0, "/var/lib/apt/lists/x", "stay in the base image"},
		{2, "COPY . .", "changed", layer.AttrOwner, "/app/x", "of the base image stay beside"},
		{3, "RUN apt-get update", "removed", 0, "/var/lib/apt/lists/x", "target=/var/lib/apt/lists"},
		{3, "RUN apt-get install x", "removed", 0, "/var/cache/apt/archives/x.deb", "apt-get clean"},
		{3, "RUN apk add x", "removed", 0, "/var/cache/apk/x", "--no-cache"},
		{3, "RUN pip install x", "changed", layer.AttrContent, "/root/.cache/pip/x", "--no-cache-dir"},
		{3, "RUN go build", "removed", 0, "/root/.cache/go-build/x", "target=/root/.cache/go-build"},
		{3, "COPY . .", "removed", 0, "/app/x", ".dockerignore"},
		{3, "ADD x.tar /", "removed", 0, "/app/x", ".dockerignore"},
		{3, "RUN make", "removed", 0, "/app/x", "in the RUN that makes them"},
		{3, "COPY . .", "changed", layer.AttrOwner, "/app/x", "COPY --chown"},
		{3, "COPY . .", "changed", layer.AttrMode, "/app/x", "COPY --chmod"},
		{3, "COPY . .", "changed", layer.AttrOwner | layer.AttrMode, "/app/x", "--chown --chmod"},
		{3, "RUN make", "changed", layer.AttrOwner, "/app/x", "a changed owner or mode stores the whole file again"},
		{3, "COPY . .", "changed", layer.AttrXattrs, "/app/x", "in the RUN that makes the files"},
		{3, "COPY . .", "written", 0, "/app/x", "write them once"},
		{3, "COPY . .", "changed", layer.AttrContent | layer.AttrOwner, "/app/x", "in one step"},
		{3, "RUN make", "changed", layer.AttrContent, "/app/x", "in one step"},
		{3, "COPY . .", "added", 0, "/app/x", "in one step"},
	} {
		name := fmt.Sprintf("%d %s %s %v %s", c.of, c.by, c.change, c.what, c.path)
		w := &DuWaste{Of: Culprit{Layer: c.of, Instruction: c.by}, Change: c.change, Paths: []string{c.path}}
		if got := advice(w, c.what, base); !strings.Contains(got, c.want) {
			t.Errorf("%s: %q does not say %q", name, got, c.want)
		}
	}
}

// A file that has several names is counted once, at the first that is left.
func TestDuHardLinks(t *testing.T) {
	file := &layer.Entry{Path: "a", Type: layer.File, Size: 100, Digest: digest.FromString("a")}
	gone := func(path string) *layer.Entry { return &layer.Entry{Path: path, Type: layer.Whiteout} }
	link := func(path string) *layer.Entry { return &layer.Entry{Path: path, Type: layer.Hardlink, Link: "a"} }
	for _, c := range []struct {
		above []*layer.Entry
		want  string
	}{
		{nil, "100: /a 100, /b 0, /c 0"},
		{[]*layer.Entry{gone("a")}, "100: /b 100, /c 0"},
		{[]*layer.Entry{gone("a"), gone("b")}, "100: /c 100"},
		{[]*layer.Entry{gone("b")}, "100: /a 100, /c 0"},
		{[]*layer.Entry{gone("a"), gone("b"), gone("c")}, "0: "},
		{[]*layer.Entry{{Path: "a", Type: layer.File, Size: 7, Digest: digest.FromString("b")}}, "107: /b 100, /a 7, /c 0"},
	} {
		tl := timeline.New()
		for _, entries := range [][]*layer.Entry{{file, link("b"), link("c")}, c.above} {
			err := tl.Add(func(fn func(*layer.Entry) error) error {
				for _, e := range entries {
					if err := fn(e); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		d := &Du{}
		d.addDirs(tl, timeline.Root, tl.Layers()-1, DuOptions{Depth: 1})
		var words []string
		for _, e := range d.Dirs {
			words = append(words, fmt.Sprintf("%s %d", e.Path, e.Size))
		}
		if got := fmt.Sprintf("%d: %s", d.Size, strings.Join(words, ", ")); got != c.want {
			t.Errorf("%s, expected %s", got, c.want)
		}
	}
}
