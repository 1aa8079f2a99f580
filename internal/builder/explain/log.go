package explain

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/strata-build/strata/internal/event/progress"
	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/store"
)

// Log is what a step printed on its standard output and error, in the order in which it came: whole lines of the
// beginning and of the end. Escape sequences are in it as the step wrote them; what it wrote over after a carriage
// return is not, and secrets are masked.
type Log struct {
	Step int    `json:"step"` // among all steps of the build, stage by stage
	Head string `json:"head"`
	// Left is how many bytes between Head and Tail are not kept.
	Left int64  `json:"left,omitempty"`
	Tail string `json:"tail,omitempty"`
}

// How much is kept of what a step prints, of what all steps of a build do, and of a line, in bytes. BuildKit shows no more
// than 2 MiB of a step; what a person reads of so much is the beginning and the end.
const (
	maxLog  = 256 << 10
	maxLogs = 4 << 20
	maxLine = 32 << 10
)

// Mask hides in a line what nobody is to read. length is that of the longest text that it hides.
type Mask func(line string) (masked string, length int)

// recorder keeps what a step prints.
type recorder struct {
	mask Mask
	show func(text []byte) // what other processes see of the step under way

	line       []byte // that has not ended
	over       bool   // some of it is not in line
	returned   bool   // the last byte was a carriage return
	head, tail []byte
	left       int64
}

// write takes some bytes. They are shown at once, unless something is to be masked: then a line at a time.
func (r *recorder) write(data []byte) {
	_, secrets := r.mask("")
	if secrets == 0 {
		r.show(data)
	}
	for len(data) > 0 {
		i := bytes.IndexAny(data, "\r\n")
		text := data
		if i >= 0 {
			text = data[:i]
		}
		if len(text) > 0 {
			r.add(text, maxLine+secrets)
		}
		if i < 0 {
			return
		}
		if r.returned = data[i] == '\r'; !r.returned {
			r.end("\n", secrets > 0)
		}
		data = data[i+1:]
	}
}

// add takes a part of a line, of which so many bytes are kept at most until it has ended.
func (r *recorder) add(text []byte, most int) {
	if r.returned {
		r.line, r.over, r.returned = r.line[:0], false, false
	}
	if room := max(0, most-len(r.line)); len(text) > room {
		text, r.over = text[:room], true
	}
	r.line = append(r.line, text...)
}

// end keeps the line that has ended, and shows it if that was not done before.
func (r *recorder) end(sign string, show bool) {
	masked, length := r.mask(string(r.line))
	most := maxLine
	if r.over {
		most = max(0, min(most, len(masked)-length)) // what is behind may be the beginning of a secret
	}
	if r.over || len(masked) > most {
		masked = masked[:most] + "…"
	}
	r.line, r.over = r.line[:0], false
	masked += sign
	if show {
		r.show([]byte(masked))
	}
	if len(r.tail) == 0 && len(r.head)+len(masked) <= maxLog/4 {
		r.head = append(r.head, masked...)
		return
	}
	if r.tail = append(r.tail, masked...); len(r.tail) > 2*maxLog {
		r.tail = r.drop(r.tail, maxLog-maxLog/4)
	}
}

// drop leaves whole lines of the end, at most so many bytes.
func (r *recorder) drop(tail []byte, most int) []byte {
	kept := lastLines(tail, most)
	r.left += int64(len(tail) - len(kept))
	return bytes.Clone(kept)
}

// log is all that is kept, nil for nothing.
func (r *recorder) log() *Log {
	if len(r.line) > 0 {
		_, secrets := r.mask("")
		r.end("", secrets > 0)
	}
	r.tail = r.drop(r.tail, maxLog-maxLog/4)
	l := &Log{Head: valid(r.head), Left: r.left, Tail: valid(r.tail)}
	if l.Left == 0 {
		l.Head, l.Tail = l.Head+l.Tail, ""
	}
	if l.size() == 0 {
		return nil
	}
	return l
}

// valid is a text as JSON can have it.
func valid(text []byte) string { return string(bytes.ToValidUTF8(text, []byte("\ufffd"))) }

func (l *Log) size() int { return len(l.Head) + len(l.Tail) }

// shrink leaves so many bytes of a log at most.
func (l *Log) shrink(most int) {
	before := l.size()
	if before <= most {
		return
	}
	tail := l.Tail
	if l.Left == 0 {
		tail = l.Head
	}
	l.Head = string(firstLines([]byte(l.Head), most/4))
	l.Tail = string(lastLines([]byte(tail), most-most/4))
	l.Left += int64(before - l.size())
}

// firstLines and lastLines are whole lines of the beginning and of the end of a text, at most so many bytes.
func firstLines(text []byte, most int) []byte {
	if len(text) <= most {
		return text
	}
	return text[:bytes.LastIndexByte(text[:most], '\n')+1]
}

func lastLines(text []byte, most int) []byte {
	if len(text) <= most {
		return text
	}
	_, lines, _ := bytes.Cut(text[len(text)-most-1:], []byte("\n"))
	return lines
}

// fit shrinks the longest of a build's logs until all have room.
func fit(logs []*Log) {
	sum := 0
	for _, l := range logs {
		sum += l.size()
	}
	if sum <= maxLogs {
		return
	}
	for _, l := range logs {
		l.shrink(maxLogs / len(logs))
	}
}

// pack makes what the store keeps of a build's logs: a line of JSON for each, compressed. nil is for none.
func pack(logs []*Log) ([]byte, error) {
	if len(logs) == 0 {
		return nil, nil
	}
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	lines := json.NewEncoder(z)
	for _, l := range logs {
		if err := lines.Encode(l); err != nil {
			return nil, err
		}
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// unpack is the opposite of pack. A control character takes six bytes of JSON.
func unpack(data []byte) ([]*Log, error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	var logs []*Log
	for lines := json.NewDecoder(io.LimitReader(z, 8*maxLogs)); ; {
		l := &Log{}
		if err := lines.Decode(l); errors.Is(err, io.EOF) {
			return logs, nil
		} else if err != nil {
			return nil, err
		}
		logs = append(logs, l)
	}
}

// Logs are what the steps of a past build printed, by their place among all steps of the build, stage by stage. A step
// that came from the cache printed nothing, and of builds of long ago there are none.
func Logs(s *store.Store, b *Build) (map[int]*Log, error) {
	data, err := s.BuildLogs(b.ID)
	if err != nil || data == nil {
		return nil, err
	}
	list, err := unpack(data)
	if err != nil {
		return nil, fmt.Errorf("reading what build %s printed: %w", b.ID, err)
	}
	logs := make(map[int]*Log, len(list))
	for _, l := range list {
		logs[l.Step] = l
	}
	return logs, nil
}

// PrintLogs writes what the steps of a build printed, as far as it is kept, each under its name. step limits it to one,
// as in Print.
func PrintLogs(w io.Writer, b *Build, logs map[int]*Log, step string) error {
	p := &printer{w: w, b: b}
	at, found, blank := -1, false, ""
	for _, st := range b.Stages {
		for _, s := range st.Steps {
			at++
			if step != "" && !b.matches(st, s, step) {
				continue
			}
			found = true
			if l := logs[at]; l != nil {
				p.print("%s%s\n%s", blank, human.Clean(b.Label(st, s)), l.lines())
				blank = "\n"
			}
		}
	}
	if step != "" && !found {
		return b.noStep(step)
	}
	return p.err
}

// lines is the log as a terminal shows it, with the end of a line at its end.
func (l *Log) lines() string {
	text := progress.CleanText(l.Text())
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text
}

// Text is what is kept of the log, with a line that says how much is not.
func (l *Log) Text() string {
	if l.Left == 0 {
		return l.Head + l.Tail
	}
	return fmt.Sprintf("%s… %s in between are not kept …\n%s", l.Head, human.Size(l.Left), l.Tail)
}
