package progress

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/event"
)

func pull(l *Layers, frame func()) {
	l.Message("test: Pulling from me/app")
	l.update("sha256:a2abf6c4d29d6ee2a2f5b6d3c8c0b4bbd6ee0d3c9a8d3a4b1f4d9f0c7e6b5a41", "Pulling fs layer", 0, 0)
	l.update("e1769f49f910", "Already exists", 0, 0)
	l.update("a2abf6c4d29d", "Downloading", 0, 31_000_000)
	l.update("a2abf6c4d29d", "Downloading", 15_500_000, 31_000_000)
	l.update("0f0f0f0f0f0f", "Downloading", 1_200_000, 0)
	frame()
	l.update("a2abf6c4d29d", "Verifying Checksum", 0, 0)
	l.update("a2abf6c4d29d", "Download complete", 0, 0)
	l.update("a2abf6c4d29d", "Extracting", 10, 31_000_000)
	l.update("a2abf6c4d29d", "Pull complete", 0, 0)
	l.update("a2abf6c4d29d", "Pull complete", 0, 0)
	l.update("0f0f0f0f0f0f", "Pull complete", 0, 0)
	l.Message("Digest: sha256:\x1b[2Jabc")
	l.Close()
	l.update("a2abf6c4d29d", "late", 0, 0)
	l.Message("late")
}

func TestLayersPipe(t *testing.T) {
	var out bytes.Buffer
	pull(newLayers(&out, false, nil), func() {})
	want := `test: Pulling from me/app
a2abf6c4d29d: Pulling fs layer
e1769f49f910: Already exists
a2abf6c4d29d: Verifying Checksum
a2abf6c4d29d: Download complete
a2abf6c4d29d: Pull complete
0f0f0f0f0f0f: Pull complete
Digest: sha256:abc
`
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Errorf("output (-want +got):\n%s", d)
	}
}

func TestLayersTerminal(t *testing.T) {
	v := newVT(80, 24)
	l := &Layers{byID: map[string]*layerRow{}, terminal: true, screen: screen{out: v, size: v.size}}
	l.stop, l.stopped = make(chan struct{}), make(chan struct{})
	close(l.stopped) // frames are drawn when the test says so
	pull(l, func() {
		l.frame(false)
		checkScreen(t, v, `test: Pulling from me/app
a2abf6c4d29d: Downloading [=================>                 ]   15.5MB/31MB
e1769f49f910: Already exists
0f0f0f0f0f0f: Downloading    1.2MB
`)
	})
	checkScreen(t, v, `test: Pulling from me/app
a2abf6c4d29d: Pull complete
e1769f49f910: Already exists
0f0f0f0f0f0f: Pull complete
Digest: sha256:abc
`)
}

func TestQuietPrintsNothing(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	pull(NewLayers(f, true), func() {})
	p, err := New("quiet", f)
	if err != nil {
		t.Fatal(err)
	}
	v := &event.Vertex{Kind: event.Run, Name: "RUN x", Text: "RUN x"}
	for _, sink := range []event.Sink{NewClassic(f, f, true), p} {
		sink.Send(event.Started{Vertex: v})
		sink.Send(event.Output{Vertex: v, Stream: 1, Data: []byte("x\n")})
		sink.Send(event.Finished{Vertex: v, Status: event.Done})
	}
	p.Close(nil)
	if fi, _ := f.Stat(); fi.Size() != 0 {
		t.Errorf("%d bytes", fi.Size())
	}
}

func TestClassic(t *testing.T) {
	var out bytes.Buffer
	c := &Classic{out: &out, terminal: true, color: true}
	const id = "sha256:1a2b3c4d5e6f6ee2a2f5b6d3c8c0b4bbd6ee0d3c9a8d3a4b1f4d9f0c7e6b5a41"
	step := func(kind event.Kind, position int, text string) *event.Vertex {
		v := &event.Vertex{Kind: kind, Position: position, Text: text}
		c.Send(event.Started{Vertex: v})
		return v
	}
	c.newContainer = func() string { return id[len("sha256:"):][:12] }
	c.Send(event.Planned{Positions: 3})
	v := step(event.From, 1, "FROM debian")
	c.Send(event.Finished{Vertex: v, Status: event.Cached, State: id})
	v = step(event.Copy, 2, "COPY . \x1b[2J.")
	c.Send(event.Finished{Vertex: v, Status: event.Cached, State: id, Record: &cache.Record{}})
	v = step(event.Run, 3, "RUN make")
	c.Send(event.Running{Vertex: v})
	c.Send(event.Output{Vertex: v, Stream: 1, Data: []byte("out\n")})
	c.Send(event.Output{Vertex: v, Stream: 2, Data: []byte("err")})
	c.Send(event.Finished{Vertex: v, Status: event.Done, State: id, Record: &cache.Record{}})
	c.Send(event.Built{ID: id, Tags: []string{"me/app:test"}})
	want := `Step 1/3 : FROM debian
 ---> 1a2b3c4d5e6f
Step 2/3 : COPY . .
 ---> Using cache
 ---> 1a2b3c4d5e6f
Step 3/3 : RUN make
 ---> Running in 1a2b3c4d5e6f
out
` + "\x1b[91merr\x1b[0m" + `
Removing intermediate container 1a2b3c4d5e6f
 ---> 1a2b3c4d5e6f
Successfully built 1a2b3c4d5e6f
Successfully tagged me/app:test
`
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Errorf("output (-want +got):\n%s", d)
	}
}

// TestLayersSilence: where nothing is printed for long, a line says how far a layer is.
func TestLayersSilence(t *testing.T) {
	var out bytes.Buffer
	c := newClock()
	l := newLayers(&out, false, nil)
	l.mu.Lock()
	l.now, l.said = c.now, c.now()
	l.mu.Unlock()
	l.update("e1769f49f910", "Pushing", 1_000_000, 31_000_000)
	c.ms(29_000)
	l.beat()
	c.ms(1_000)
	l.update("e1769f49f910", "Pushing", 15_500_000, 31_000_000)
	l.beat()
	l.beat()
	l.update("e1769f49f910", "Pushed", 0, 0)
	l.Close()
	if want := "e1769f49f910: Pushing 15.5MB/31MB\ne1769f49f910: Pushed\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}
