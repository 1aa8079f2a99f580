package remote

import (
	"bytes"
	"regexp"
	"strconv"
)

// gitProgress is git's standard error: it takes the lines of fetch --progress out, reads from them how much has arrived,
// and leaves the rest, which is what an error is made of.
type gitProgress struct {
	said  *bytes.Buffer
	moved func(int64)
	line  []byte // not at its end yet
}

// maxProgressLine is the longest line that can be one of progress; git's have about 80 bytes.
const maxProgressLine = 1 << 10

func (p *gitProgress) Write(data []byte) (int, error) {
	for _, c := range data {
		p.line = append(p.line, c)
		if c == '\r' || c == '\n' || len(p.line) > maxProgressLine {
			p.flush()
		}
	}
	return len(data), nil
}

// flush ends a line. The last one may have no end of its own.
func (p *gitProgress) flush() {
	if len(bytes.TrimRight(p.line, "\r\n")) == 0 {
		p.line = p.line[:0]
		return
	}
	if !isProgress(p.line) {
		p.said.Write(p.line)
	} else if n, ok := received(p.line); ok && p.moved != nil {
		p.moved(n)
	}
	p.line = p.line[:0]
}

// progressLines is what such lines begin with: those of this side, those of the server, and what a fetch says at its end.
var progressLines = [][]byte{
	[]byte("Receiving objects: "), []byte("Resolving deltas: "), []byte("remote: Enumerating objects: "),
	[]byte("remote: Counting objects: "), []byte("remote: Compressing objects: "), []byte("remote: Total "),
	[]byte("From "), []byte(" * ["), []byte(" + "),
}

func isProgress(line []byte) bool {
	for _, begin := range progressLines {
		if bytes.HasPrefix(line, begin) {
			return true
		}
	}
	return false
}

// throughput is git's "Receiving objects:  45% (9/20), 1.20 MiB | 2.30 MiB/s" (display_throughput in its progress.c).
var throughput = regexp.MustCompile(`^Receiving objects: .*\), ([0-9]+(?:\.[0-9]+)?) (bytes|KiB|MiB|GiB) \|`)

// received is how many bytes a line says that have arrived; false if it says nothing of that.
func received(line []byte) (int64, bool) {
	m := throughput.FindSubmatch(line)
	if m == nil {
		return 0, false
	}
	n, err := strconv.ParseFloat(string(m[1]), 64)
	n *= map[string]float64{"bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}[string(m[2])]
	return int64(n), err == nil && n < 1<<50
}
