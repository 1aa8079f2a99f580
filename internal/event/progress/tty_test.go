package progress

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/event"
	"github.com/strata-build/strata/internal/human/style"
)

// ttyFeed is a tty display with the feed of its events.
type ttyFeed struct {
	*feed
	tty *tty
}

// frame draws what there is.
func (f *ttyFeed) frame(last bool) { f.tty.frame(last) }

// ttyFixture is a display that draws only when the test says so.
func ttyFixture(t *testing.T, w, h int) (*ttyFeed, *vt, *clock) {
	t.Helper()
	v, c := newVT(w, h), newClock()
	p := &tty{
		screen: screen{out: v, size: v.size, color: true}, look: colored(), now: c.now, began: c.now(),
		steps: map[*event.Vertex]*ttyStep{}, stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	close(p.stopped)
	return &ttyFeed{newFeed(p), p}, v, c
}

func checkScreen(t *testing.T, v *vt, want string) {
	t.Helper()
	if d := cmp.Diff(want, v.screen()); d != "" {
		t.Errorf("screen (-want +got):\n%s", d)
	}
	if len(v.bad) > 0 {
		t.Errorf("the terminal got %q", v.bad)
	}
	if v.hidden || !v.wrap {
		t.Errorf("the terminal was left with cursor hidden %v, line breaks %v", v.hidden, v.wrap)
	}
}

func TestTTY(t *testing.T) {
	p, v, c := ttyFixture(t, 80, 24)
	fmt.Fprint(v, "$ strata build .\n")
	p.start(1, "[internal] load build definition from Dockerfile")
	c.ms(30)
	p.finish(1, event.Done, nil)
	p.start(2, "[1/5] FROM docker.io/library/python:3.11-slim-bookworm")
	p.progress(2, "sha256:"+strings.Repeat("ab", 32), 3_100_000, 10_000_000, "")
	c.ms(1000)
	p.frame(false)
	checkScreen(t, v, `$ strata build .
[+] Building 1.0s (1/2)
 => [internal] load build definition from Dockerfile                        0.0s
 => [1/5] FROM docker.io/library/python:3.11-slim-bookworm                  1.0s
 => => sha256:abababababababababababababababababababab 3.10MB / 10.00MB 31% 1.0s
`)
	p.progress(2, "sha256:"+strings.Repeat("ab", 32), 0, 0, "done")
	p.finish(2, event.Done, nil)
	p.start(3, "[2/5] COPY . .")
	p.Send(event.Finished{Vertex: p.vertex(3), Status: event.Cached, Record: &cache.Record{
		Origin: "registry", Created: time.Now().Add(-73 * time.Hour),
	}})
	p.start(4, "[3/5] RUN make")
	for i := range 10 {
		p.log(4, 1, fmt.Appendf(nil, "line %d\n", i))
	}
	p.log(4, 1, []byte("10%\r20%\x1b[10A\x1b]0;mine\x07"))
	c.ms(500)
	p.frame(false)
	checkScreen(t, v, `$ strata build .
[+] Building 1.5s (3/4)
 => [internal] load build definition from Dockerfile                        0.0s
 => [1/5] FROM docker.io/library/python:3.11-slim-bookworm                  1.0s
 => => sha256:abababababababababababababababababababababa 10.00MB / 10.00MB 1.0s
 => CACHED [2/5] COPY . .  (from registry, made 3 days ago)                 0.0s
 => [3/5] RUN make                                                          0.5s
 => => # line 5
 => => # line 6
 => => # line 7
 => => # line 8
 => => # line 9
 => => # 20%
`)
	p.start(5, "[other 1/1] RUN sleep 9")
	p.finish(4, event.Failed, errors.New("exit code: 2"))
	p.Close(errors.New("exit code: 2"))
	checkScreen(t, v, `$ strata build .
[+] Building 1.5s (5/5) FINISHED
 => [internal] load build definition from Dockerfile                        0.0s
 => [1/5] FROM docker.io/library/python:3.11-slim-bookworm                  1.0s
 => => sha256:abababababababababababababababababababababa 10.00MB / 10.00MB 1.0s
 => CACHED [2/5] COPY . .  (from registry, made 3 days ago)                 0.0s
 => ERROR [3/5] RUN make                                                    0.5s
 => CANCELED [other 1/1] RUN sleep 9                                        0.0s
------
 > [3/5] RUN make:
0.000 line 0
0.000 line 1
0.000 line 2
0.000 line 3
0.000 line 4
0.000 line 5
0.000 line 6
0.000 line 7
0.000 line 8
0.000 line 9
0.000 20%
------
`)
}

// TestTTYLow has more steps than lines: those that run stay in sight, and the end has them all.
func TestTTYLow(t *testing.T) {
	p, v, _ := ttyFixture(t, 60, 8)
	p.start(0, "[slow] RUN sleep 100")
	for i := 1; i <= 9; i++ {
		p.start(i, fmt.Sprintf("[%d/9] RUN true", i))
		p.frame(false)
		p.finish(i, event.Done, nil)
	}
	p.start(10, "[talks] RUN make")
	p.log(10, 1, []byte("a\nb\nc\nd\n"))
	p.frame(false)
	checkScreen(t, v, `[+] Building 0.0s (9/11)
 => [slow] RUN sleep 100                                0.0s
 => [9/9] RUN true                                      0.0s
 => [talks] RUN make                                    0.0s
 => => # b
 => => # c
 => => # d
`)
	if len(v.scrollback) > 0 {
		t.Errorf("scrolled away while it ran: %q", v.scrollback)
	}
	p.Close(nil)
	all := strings.Join(v.scrollback, "\n") + "\n" + v.screen()
	if n := strings.Count(all, " => "); n != 11 {
		t.Errorf("%d steps at the end, want 11:\n%s", n, all)
	}
	if n := strings.Count(all, "Building"); n != 1 {
		t.Errorf("%d headers at the end, want 1:\n%s", n, all)
	}
}

func TestTTYResize(t *testing.T) {
	p, v, _ := ttyFixture(t, 80, 24)
	fmt.Fprint(v, "$ strata build .\n")
	p.start(1, "[1/2] RUN "+strings.Repeat("x", 100))
	p.start(2, "[2/2] RUN y")
	p.frame(false)
	v.resize(30, 10)
	p.frame(false)
	checkScreen(t, v, `$ strata build .
[+] Building 0.0s (0/2)
 => [1/2] RUN xxxxxxxxxxx 0.0s
 => [2/2] RUN y           0.0s
`)
	v.resize(50, 10)
	p.frame(false)
	checkScreen(t, v, `$ strata build .
[+] Building 0.0s (0/2)
 => [1/2] RUN xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx 0.0s
 => [2/2] RUN y                               0.0s
`)
	for _, size := range [][2]int{{2, 2}, {5, 3}, {300, 100}} {
		v.resize(size[0], size[1])
		p.frame(false)
	}
	p.Close(nil)
	if len(v.bad) > 0 {
		t.Errorf("the terminal got %q", v.bad)
	}
}

func TestTTYWide(t *testing.T) {
	p, v, _ := ttyFixture(t, 30, 10)
	p.start(1, "[1/2] RUN echo 漢字漢字漢字漢字")
	p.log(1, 1, []byte("👩‍👩‍👧 ok 漢字漢字漢字漢字漢字\n"))
	p.frame(false)
	want := ` => [1/2] RUN echo 漢字漢 0.0s
`
	got := strings.Join(strings.SplitAfter(v.screen(), "\n")[1:2], "")
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("row (-want +got):\n%s", d)
	}
	if v.y != 3 {
		t.Errorf("cursor in line %d after three rows", v.y)
	}
}

func TestNoColor(t *testing.T) {
	for _, color := range []bool{true, false} {
		var b strings.Builder
		s := screen{out: &b, size: func() (int, int) { return 80, 24 }, color: color}
		s.draw([]row{{text: "x", color: style.Red}})
		if got := strings.Contains(b.String(), style.Red.Start()); got != color {
			t.Errorf("color %v: %q", color, b.String())
		}
	}
}

func TestWithNote(t *testing.T) {
	for _, tt := range []struct {
		text, note string
		room       int
		want       string
	}{
		{" => COPY . .", "", 75, " => COPY . ."},
		{" => COPY . .", "main.py changed", 75, " => COPY . .  (main.py changed)"},
		{" => COPY . .", "main.py changed", 59, " => COPY . ."},
		{" => RUN " + strings.Repeat("x", 90), "main.py changed", 60, " => RUN " + strings.Repeat("x", 32) + "…  (main.py changed)"},
		{" => RUN x", strings.Repeat("y", 90), 60, " => RUN x  (" + strings.Repeat("y", 29) + "…)"},
	} {
		if got := withNote(tt.text, tt.note, tt.room); got != tt.want {
			t.Errorf("withNote(%q, %q, %d) =\n%q, want\n%q", tt.text, tt.note, tt.room, got, tt.want)
		}
	}
}

// A warning stands below its step, also when that has ended; nothing in it reaches the terminal as a control sequence.
func TestWarn(t *testing.T) {
	p, v, c := ttyFixture(t, 80, 24)
	p.start(1, "[internal] load build definition from Dockerfile")
	c.ms(100)
	p.finish(1, event.Done, nil)
	p.warn(1, "Rule: what is \x1b[31mwrong (line 3)")
	p.warn(2, "of a step that never was")
	p.Close(nil)
	checkScreen(t, v, `[+] Building 0.1s (1/1) FINISHED
 => [internal] load build definition from Dockerfile                        0.1s
 => WARN: Rule: what is wrong (line 3)                                      0.1s
`)
}
