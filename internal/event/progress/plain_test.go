package progress

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/event"
)

func TestPlain(t *testing.T) {
	tests := []struct {
		name  string
		clean bool
		err   error
		do    func(p *feed, c *clock)
		want  string
	}{
		{name: "one after the other", do: func(p *feed, c *clock) {
			p.start(7, "[internal] load build definition from Dockerfile")
			c.ms(40)
			p.progress(7, "transferring dockerfile:", 140, 0, "")
			c.ms(10)
			p.progress(7, "transferring dockerfile:", 140, 0, "done")
			p.finish(7, event.Done, nil)
			p.start(9, "[1/3] FROM docker.io/library/python")
			p.finish(9, event.Cached, nil)
			p.start(3, "[2/3] RUN make")
			p.reason(3, "Makefile changed")
			c.ms(312)
			p.log(3, 1, []byte("cc -c a.c\ncc -c "))
			c.ms(100)
			p.log(3, 1, []byte("b.c\n"))
			c.ms(12000)
			p.log(3, 2, []byte("warning: slow\nno end"))
			p.finish(3, event.Done, nil)
		}, want: `#1 [internal] load build definition from Dockerfile
#1 transferring dockerfile: 140B
#1 transferring dockerfile: 140B done
#1 DONE 0.1s

#2 [1/3] FROM docker.io/library/python
#2 CACHED

#3 [2/3] RUN make
#3 why: Makefile changed
#3 0.312 cc -c a.c
#3 0.312 cc -c b.c
#3 12.41 warning: slow
#3 12.41 no end
#3 DONE 12.4s
`},
		{name: "two at once", do: func(p *feed, c *clock) {
			p.start(1, "[a 1/1] RUN a")
			p.start(2, "[b 1/1] RUN b")
			p.log(1, 1, []byte("a1\na-part"))
			p.log(2, 1, []byte("b1\n"))
			c.ms(1000)
			p.log(2, 1, []byte("b2\n"))
			p.finish(2, event.Done, nil)
			p.log(1, 1, []byte("-rest\n"))
			c.ms(500)
			p.finish(1, event.Done, nil)
		}, want: `#1 [a 1/1] RUN a
#1 0.000 a1
#1 0.000 a-part
#1 ...

#2 [b 1/1] RUN b
#2 0.000 b1
#2 1.000 b2
#2 DONE 1.0s

#1 [a 1/1] RUN a
#1 1.000 -rest
#1 DONE 1.5s
`},
		{name: "who waits long enough gets the floor", do: func(p *feed, c *clock) {
			p.start(1, "[a] RUN a")
			p.start(2, "[b] RUN b")
			p.log(2, 1, []byte("b1\n"))
			c.ms(4900)
			p.log(1, 1, []byte("a1\n"))
			c.ms(100)
			p.log(1, 1, []byte("a2\n"))
			p.log(1, 1, []byte("a3\n"))
			c.ms(1000)
			p.finish(1, event.Canceled, nil)
			p.finish(2, event.Done, nil)
		}, want: `#1 [a] RUN a
#1 4.900 a1
#1 5.000 a2
#1 ...

#2 [b] RUN b
#2 0.000 b1
#2 ...

#1 [a] RUN a
#1 5.000 a3
#1 CANCELED

#2 [b] RUN b
#2 DONE 6.0s
`},
		{name: "a failure", err: errors.New("failed to solve"), do: func(p *feed, c *clock) {
			p.start(1, "[4/5] RUN pip install pip==1.2.1")
			c.ms(512)
			p.log(1, 2, []byte(strings.Repeat("line\n", 20)+"ERROR: No matching distribution\n"))
			p.start(2, "[other] RUN sleep 9")
			p.finish(1, event.Failed, errors.New(`process "/bin/sh -c pip install pip==1.2.1" did not complete successfully: exit code: 1`))
		}, want: "#1 [4/5] RUN pip install pip==1.2.1\n" + strings.Repeat("#1 0.512 line\n", 20) + `#1 0.512 ERROR: No matching distribution
#1 ERROR: process "/bin/sh -c pip install pip==1.2.1" did not complete successfully: exit code: 1

#2 [other] RUN sleep 9
#2 CANCELED
------
 > [4/5] RUN pip install pip==1.2.1:
` + strings.Repeat("0.512 line\n", 9) + `0.512 ERROR: No matching distribution
------
`},
		{name: "progress is thinned out", do: func(p *feed, c *clock) {
			p.start(1, "[1/2] FROM debian")
			for i := range int64(101) {
				c.ms(1)
				p.progress(1, "sha256:ab12", i*100_000, 10_000_000, "downloading")
				if i == 2 {
					c.ms(5000)
				}
				if i == 8 {
					break
				}
			}
			p.progress(1, "sha256:ab12", 10_000_000, 10_000_000, "extracting")
			c.ms(100)
			p.progress(1, "sha256:ab12", 0, 0, "done")
			p.progress(1, "sha256:ab12", 0, 0, "done")
			p.finish(1, event.Done, nil)
		}, want: `#1 [1/2] FROM debian
#1 sha256:ab12 0B / 10.00MB 0%
#1 sha256:ab12 300.00kB / 10.00MB 3% 5.0s
#1 sha256:ab12 800.00kB / 10.00MB 8% 5.0s
#1 sha256:ab12 10.00MB / 10.00MB 5.0s done
#1 extracting sha256:ab12 10.00MB / 10.00MB 100%
#1 extracting sha256:ab12 10.00MB / 10.00MB 0.1s done
#1 DONE 5.1s
`},
		{name: "bytes as they are on a pipe", do: func(p *feed, c *clock) {
			p.start(1, "RUN\x1b]0;title\x07 x\ny")
			p.log(1, 1, []byte("\x1b[31m10%\r20%\r\n"))
			p.finish(1, event.Done, nil)
		}, want: "#1 RUN x y\n#1 0.000 \x1b[31m10%\r20%\r\n#1 DONE 0.0s\n"},
		{name: "harmless on a terminal", clean: true, do: func(p *feed, c *clock) {
			p.start(1, "RUN x")
			p.log(1, 1, []byte("\x1b]0;title\x07\x1b[2J10%\r20%\r\n\x1b[5A#1 "))
			p.log(1, 1, []byte("end"))
			p.finish(1, event.Done, nil)
		}, want: "#1 RUN x\n#1 0.000 20%\n#1 0.000 #1 end\n#1 DONE 0.0s\n"},
		{name: "events of nobody", do: func(p *feed, c *clock) {
			p.log(1, 1, []byte("x\n"))
			p.reason(1, "x")
			p.finish(1, event.Done, nil)
			p.start(1, "RUN x")
			p.log(1, 1, nil)
			p.finish(1, event.Done, nil)
			p.reason(1, "late")
		}, want: "#1 RUN x\n#1 DONE 0.0s\n\n#1 RUN x\n#1 why: late\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			c := newClock()
			p := newFeed(newPlain(&out, tt.clean, c.now))
			tt.do(p, c)
			p.Close(tt.err)
			if d := cmp.Diff(tt.want, out.String()); d != "" {
				t.Errorf("output (-want +got):\n%s", d)
			}
		})
	}
}

// TestPlainSilence: a step that prints nothing for long is said to run still, with what moves.
func TestPlainSilence(t *testing.T) {
	var out bytes.Buffer
	c := newClock()
	p := newPlain(&out, false, c.now)
	beat := func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.beat()
	}
	f := newFeed(p)
	beat() // nothing runs
	f.start(1, "[2/2] RUN make")
	f.Send(event.Executing{Vertex: f.vertex(1)})
	c.ms(29_000)
	beat()
	f.log(1, 1, []byte("half a line"))
	c.ms(30_000)
	beat()
	beat()
	c.ms(31_000)
	beat()
	f.progress(1, "sha256:ab12", 5_000_000, 10_000_000, "")
	c.ms(30_000)
	beat()
	f.finish(1, event.Done, nil)
	c.ms(60_000)
	beat()
	p.Close(nil)
	want := `#1 [2/2] RUN make
#1 29.00 half a line
#1 still running after 59s
#1 still running after 1m30s
#1 sha256:ab12 5.00MB / 10.00MB 50%
#1 still running after 2m0s: sha256:ab12 5.00MB / 10.00MB 50%
#1 DONE 120.0s
`
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Errorf("output (-want +got):\n%s", d)
	}
}

// TestFetchIsNoPartOfAStep: what a step took begins when all that it needs is here.
func TestFetchIsNoPartOfAStep(t *testing.T) {
	var out bytes.Buffer
	c := newClock()
	f := newFeed(newPlain(&out, false, c.now))
	f.start(1, "[2/2] RUN make")
	c.ms(90_000)
	f.Send(event.Executing{Vertex: f.vertex(1)})
	c.ms(200)
	f.log(1, 1, []byte("made\n"))
	f.finish(1, event.Done, nil)
	f.Close(nil)
	if want := "#1 [2/2] RUN make\n#1 0.200 made\n#1 DONE 0.2s\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

// TestBases: stages that start from the same image show it once, as cached only where its layers are here.
func TestBases(t *testing.T) {
	var out bytes.Buffer
	c := newClock()
	b := &board{Display: newPlain(&out, false, c.now)}
	from := func(stage int, name, image string, id digest.Digest, status event.Status) {
		st := &event.Stage{StageID: event.StageID{Platform: "linux/amd64", Index: stage}, From: image, Image: true}
		b.Send(event.Finished{Vertex: &event.Vertex{Kind: event.From, Name: name, Stage: st}, Status: status, State: id})
	}
	from(0, "[build 1/2] FROM debian:12", "debian:12", "sha256:aa", event.Done)
	from(1, "[test 1/2] FROM debian:12", "debian:12", "sha256:aa", event.Done)
	from(2, "[stage-2 1/2] FROM alpine", "alpine", "sha256:bb", event.Cached)
	b.Close(nil)
	want := `#1 [build 1/2] FROM debian:12
#1 DONE 0.0s

#2 [stage-2 1/2] FROM alpine
#2 CACHED
`
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Errorf("output (-want +got):\n%s", d)
	}
}
