package progress

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

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
#1 sha256:ab12 0B / 10.00MB
#1 sha256:ab12 300.00kB / 10.00MB 5.0s
#1 sha256:ab12 800.00kB / 10.00MB 5.0s
#1 sha256:ab12 10.00MB / 10.00MB 5.0s done
#1 extracting sha256:ab12 10.00MB / 10.00MB
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
