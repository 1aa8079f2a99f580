package exec

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestClipper(t *testing.T) {
	for _, c := range []struct {
		name   string
		limit  LogLimit
		writes []string
		want   string
	}{
		{"under the limit", LogLimit{10, -1}, []string{"12345", "67890"}, "1234567890"},
		{"above", LogLimit{8, -1}, []string{"12345", "67890", "ab"}, "12345678\n[output clipped, log limit 8B reached]\n|90ab"},
		{"nothing", LogLimit{0, -1}, []string{"a"}, "\n[output clipped, log limit 0B reached]\n|a"},
		{"no limit", LogLimit{-1, -1}, []string{"12345", "67890"}, "1234567890"},
		{"speed", LogLimit{-1, 6}, []string{"1234", "56789", "@", "abcd"}, "1234" + "56\n[output clipped, log limit 6B/s reached]\n" + "abcd"},
		{"speed, then size", LogLimit{8, 6}, []string{"123456", "@", "789"}, "12345678\n[output clipped, log limit 8B reached]\n|9"},
	} {
		var got bytes.Buffer
		clip := newClipper(c.limit, func(p []byte) { got.Write(p) })
		now := clip.began.Add(time.Millisecond)
		clip.now = func() time.Time { return now }
		for _, w := range c.writes {
			if w == "@" {
				now = now.Add(2 * time.Second)
				continue
			}
			if n, err := clip.Write([]byte(w)); n != len(w) || err != nil {
				t.Fatal(n, err)
			}
		}
		before := got.Len()
		clip.flush()
		shown := got.String()
		if got.Len() > before {
			shown = shown[:before] + "|" + shown[before:]
		}
		if shown != c.want {
			t.Errorf("%s: %q, want %q", c.name, shown, c.want)
		}
	}
}

// What is kept of the end is bounded, and is the end.
func TestClipperTail(t *testing.T) {
	var got bytes.Buffer
	clip := newClipper(LogLimit{Size: 4, Speed: -1}, func(p []byte) { got.Write(p) })
	chunk := []byte(strings.Repeat("x", 32<<10))
	for range 1000 {
		clip.Write(chunk)
		if cap(clip.tail) > 4*clipTail {
			t.Fatalf("%d bytes are held", cap(clip.tail))
		}
	}
	clip.Write([]byte("the end"))
	got.Reset()
	clip.flush()
	if got.Len() != clipTail || !strings.HasSuffix(got.String(), "xthe end") {
		t.Errorf("%d bytes, %q", got.Len(), got.Bytes()[got.Len()-20:])
	}
}

func TestSizeInNotes(t *testing.T) {
	for n, want := range map[int64]string{2 << 20: "2MiB", 200 << 10: "200KiB", 1536: "1.5KiB", 100: "100B", 3 << 30: "3GiB"} {
		if got := size(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
