package progress

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func pull(l *Layers, frame func()) {
	l.Message("test: Pulling from me/app")
	l.Update("sha256:a2abf6c4d29d6ee2a2f5b6d3c8c0b4bbd6ee0d3c9a8d3a4b1f4d9f0c7e6b5a41", "Pulling fs layer", 0, 0)
	l.Update("e1769f49f910", "Already exists", 0, 0)
	l.Update("a2abf6c4d29d", "Downloading", 0, 31_000_000)
	l.Update("a2abf6c4d29d", "Downloading", 15_500_000, 31_000_000)
	l.Update("0f0f0f0f0f0f", "Downloading", 1_200_000, 0)
	frame()
	l.Update("a2abf6c4d29d", "Verifying Checksum", 0, 0)
	l.Update("a2abf6c4d29d", "Download complete", 0, 0)
	l.Update("a2abf6c4d29d", "Extracting", 10, 31_000_000)
	l.Update("a2abf6c4d29d", "Pull complete", 0, 0)
	l.Update("a2abf6c4d29d", "Pull complete", 0, 0)
	l.Update("0f0f0f0f0f0f", "Pull complete", 0, 0)
	l.Message("Digest: sha256:\x1b[2Jabc")
	l.Close()
	l.Update("a2abf6c4d29d", "late", 0, 0)
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
	NewClassic(f, true).Step(1, 2, "FROM scratch")
	p, err := New("quiet", f)
	if err != nil {
		t.Fatal(err)
	}
	p.Start(1, "RUN x")
	p.Log(1, 1, []byte("x\n"))
	p.Finish(1, Done, nil)
	p.Close(nil)
	if fi, _ := f.Stat(); fi.Size() != 0 {
		t.Errorf("%d bytes", fi.Size())
	}
}

func TestClassic(t *testing.T) {
	var out bytes.Buffer
	c := &Classic{out: &out, terminal: true, color: true}
	const id = "sha256:1a2b3c4d5e6f6ee2a2f5b6d3c8c0b4bbd6ee0d3c9a8d3a4b1f4d9f0c7e6b5a41"
	c.Step(1, 3, "FROM debian")
	c.Layer(id)
	c.Step(2, 3, "COPY . \x1b[2J.")
	c.UsingCache()
	c.Layer(id)
	c.Step(3, 3, "RUN make")
	c.RunningIn(id[len("sha256:"):])
	c.Output(1, []byte("out\n"))
	c.Output(2, []byte("err"))
	c.Removed("1a2b3c4d5e6f")
	c.Layer(id)
	c.Built(id)
	c.Tagged("me/app:test")
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
