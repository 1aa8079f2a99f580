package dockerfile

import (
	"bytes"
	"regexp"
	"sync"
)

// maxWritten bounds what is kept of an instruction with here-documents.
const maxWritten = 64 << 10

// heredocMark matches what begins a here-document: <<EOF, 3<<-"EOF".
var heredocMark = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(^|\s)\d*<<-?["']?[A-Za-z_]`) })

// Written is the instruction as the Dockerfile has it, over several lines, if there are here-documents in it, which Text
// lacks; else "", as for a trigger of the base image and for more than 64 KiB.
func (s *Step) Written() string {
	if s.OnBuild || s.file == nil || s.EndLine <= s.Line || !heredocMark().MatchString(s.Text) {
		return ""
	}
	lines := bytes.SplitAfter(s.file.Source, []byte("\n"))
	if s.Line < 1 || s.EndLine > len(lines) {
		return ""
	}
	text := bytes.TrimRight(bytes.Join(lines[s.Line-1:s.EndLine], nil), "\r\n")
	if len(text) > maxWritten {
		return ""
	}
	return string(text)
}
