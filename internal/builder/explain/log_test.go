package explain

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-build/strata/internal/event"
)

// hiding is a Mask of one secret.
func hiding(secret string) Mask {
	return func(line string) (string, int) { return strings.ReplaceAll(line, secret, "(secret)"), len(secret) }
}

func TestRecorder(t *testing.T) {
	long, longer := strings.Repeat("x", maxLine-3)+"hunter2", "hunter2"+strings.Repeat("x", 33)
	for _, test := range []struct {
		name, given, want string
		mask              Mask
	}{
		{"lines", "one\ntwo\n", "one\ntwo\n", open},
		{"no end", "one\ntwo", "one\ntwo", open},
		{"written over", "10%\r50%\r100%\r\nnext\r\n", "100%\nnext\n", open},
		{"written over and no end", "10%\r100%\r", "100%", open},
		{"escape sequences", "\x1b[31mred\x1b[0m\n", "\x1b[31mred\x1b[0m\n", open},
		{"no text", "a\xffb\n", "a\ufffdb\n", open},
		{"a secret", "+ login hunter2\nhunter2", "+ login (secret)\n(secret)", hiding("hunter2")},
		{"a secret where a line is cut", long + "\nend\n", long[:maxLine-3] + "(se…\nend\n", hiding("hunter2")},
		{"a secret where a longer line is cut", long + strings.Repeat("y", maxLine) + "\n", long[:maxLine-3] + "(se…\n", hiding("hunter2")},
		{"a secret behind what is kept of a line", strings.Repeat("x", maxLine+3) + "hunter2\n", strings.Repeat("x", maxLine) + "…\n", hiding("hunter2")},
		{"a long line", strings.Repeat("y", 2*maxLine) + "\n", strings.Repeat("y", maxLine) + "…\n", open},
		{"masks that are shorter", longer + longer + strings.Repeat("y", maxLine-50) + longer + "\n",
			"(secret)(secret)" + strings.Repeat("y", maxLine-80) + "…\n", hiding(longer)},
	} {
		for _, size := range []int{1, 3, 1 << 20} {
			var shown bytes.Buffer
			r := &recorder{mask: test.mask, show: func(text []byte) { shown.Write(text) }}
			for rest := []byte(test.given); len(rest) > 0; {
				n := min(size, len(rest))
				r.write(rest[:n])
				rest = rest[n:]
			}
			if diff := cmp.Diff(&Log{Head: test.want}, r.log()); diff != "" {
				t.Errorf("%s, %d bytes at a time: %s", test.name, size, diff)
			}
			if strings.Contains(shown.String(), "hun") {
				t.Errorf("%s: another process sees %q", test.name, shown.String())
			}
		}
	}
	if l := (&recorder{mask: open}).log(); l != nil {
		t.Errorf("nothing was printed, and %v is kept", l)
	}
}

// TestLogBounds: a step that prints more than is kept has whole lines of the beginning and the end, and however much
// the steps of a build print, all has room.
func TestLogBounds(t *testing.T) {
	r := &recorder{mask: open, show: func([]byte) {}}
	written := 0
	for i := range 200_000 {
		line := fmt.Sprintf("line %d\n", i)
		written += len(line)
		r.write([]byte(line))
	}
	l := r.log()
	check := func(most int) {
		t.Helper()
		if l.size() > most || int64(l.size())+l.Left != int64(written) {
			t.Fatalf("%d bytes and %d left out, of %d", l.size(), l.Left, written)
		}
		if !strings.HasPrefix(l.Head, "line 0\n") || !strings.HasSuffix(l.Head, "\n") || !strings.HasPrefix(l.Tail, "line ") || !strings.HasSuffix(l.Tail, "line 199999\n") {
			t.Errorf("%.20q … %.20q", l.Head, l.Tail)
		}
	}
	check(maxLog)
	l.shrink(1000)
	check(1000)

	var logs []*Log
	for range 40 {
		logs = append(logs, &Log{Head: strings.Repeat("text\n", maxLog/5)})
	}
	fit(logs)
	sum := 0
	for _, l := range logs {
		sum += l.size()
	}
	if sum > maxLogs {
		t.Errorf("%d bytes are kept of a build", sum)
	}
}

func TestPackLogs(t *testing.T) {
	var logs []*Log
	for i := range 20 {
		text := make([]byte, maxLogs/20)
		for k := range text {
			text[k] = byte(rand.IntN(32)) // of which JSON makes most
		}
		logs = append(logs, &Log{Step: i, Head: string(text), Left: 1, Tail: "end"})
	}
	data, err := pack(logs)
	if err != nil {
		t.Fatal(err)
	}
	got, err := unpack(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(logs, got); diff != "" {
		t.Error(diff)
	}
	if _, err := unpack(data[:len(data)/2]); err == nil {
		t.Error("half of it is read")
	}
}

// TestJournalLogs: what steps print is kept with the build, and forgotten with it.
func TestJournalLogs(t *testing.T) {
	s := openStore(t)
	b := &Build{ID: "ab01", Engine: "graph"}
	j := NewJournal(t.Context(), s, b, hiding("hunter2"), event.Discard)
	j.Send(event.Planned{Stages: []*event.Stage{journalStage}, Positions: 3})
	silent, v := copyVertex(), &event.Vertex{Kind: event.Run, Name: "[3/3] RUN make", Stage: journalStage, Text: "RUN make", Number: 3, Total: 3, Index: 1}
	ran(j, silent, event.LookedUp{Key: contentKey("sha256:one")})
	ran(j, v, event.LookedUp{Key: contentKey("sha256:two")})
	j.Send(event.Output{Vertex: v, Stream: 1, Data: []byte("the token is hun")})
	j.Send(event.Output{Vertex: v, Stream: 1, Data: []byte("ter2\n")})
	j.Close("", errors.New("it failed"))
	logs, err := Logs(s, b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[int]*Log{1: {Step: 1, Head: "the token is (secret)\n"}}, logs); diff != "" {
		t.Error(diff)
	}
	if err := s.ForgetBuilds("ab01"); err != nil {
		t.Fatal(err)
	}
	if logs, err := Logs(s, b); err != nil || len(logs) > 0 {
		t.Errorf("a forgotten build printed %v, %v", logs, err)
	}
}
