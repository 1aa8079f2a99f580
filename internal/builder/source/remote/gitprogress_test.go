package remote

import (
	"bytes"
	"slices"
	"testing"
)

func TestGitProgress(t *testing.T) {
	const told = "remote: Enumerating objects: 3, done.\r\nReceiving objects:  33% (1/3)\rReceiving objects:  50% (2/4), 1.50 KiB | 2.00 KiB/s\r" +
		"Receiving objects: 100% (3/3), 2.00 MiB | 1.00 MiB/s, done.\nremote: a word of the server\nFrom http://x/y\n * [new branch] a -> b\nfatal: the rest"
	for _, size := range []int{1, 7, len(told)} {
		var said bytes.Buffer
		var moved []int64
		p := &gitProgress{said: &said, moved: func(n int64) { moved = append(moved, n) }}
		for chunk := range slices.Chunk([]byte(told), size) {
			if _, err := p.Write(chunk); err != nil {
				t.Fatal(err)
			}
		}
		p.flush()
		if got := said.String(); got != "remote: a word of the server\nfatal: the rest" {
			t.Errorf("in pieces of %d: %q", size, got)
		}
		if !slices.Equal(moved, []int64{1536, 2 << 20}) {
			t.Errorf("in pieces of %d: %v", size, moved)
		}
	}
}

func FuzzGitProgress(f *testing.F) {
	f.Add([]byte("Receiving objects:  33% (1/3), 1.50 KiB | 2.00 KiB/s\rfatal: x"))
	f.Add([]byte("Receiving objects: ), 99999999999999999999.9 GiB |\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var said bytes.Buffer
		p := &gitProgress{said: &said, moved: func(n int64) {
			if n < 0 {
				t.Errorf("%d bytes", n)
			}
		}}
		_, _ = p.Write(data)
		p.flush()
		if said.Len() > len(data) {
			t.Errorf("more than was said: %q", said.String())
		}
	})
}
