// Package subrequest holds what `strata build --call` answers instead of building: the findings of the build checks, the
// parameters of a target, the targets of a file. Texts and JSON are those of BuildKit's subrequests
// (frontend/subrequests/lint, outline, targets), so that what reads one reads the other.
package subrequest

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/human/suggest"
)

// The methods that there are.
const (
	Build   = "build"
	Check   = "check"
	Outline = "outline"
	Targets = "targets"
)

// Method is what --call asks for.
type Method struct {
	Name         string
	JSON         bool
	IgnoreStatus bool // findings of check do not show in the exit code
}

// ParseMethod reads the value of --call: NAME[,format=json|text][,ignorestatus=true]. "" is build, and lint is another
// name of check.
func ParseMethod(text string) (Method, error) {
	m := Method{}
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil && err != io.EOF {
		return m, fmt.Errorf("--call %s: %w; write NAME,format=json", text, err)
	}
	for _, field := range fields {
		key, value, isOption := strings.Cut(field, "=")
		switch {
		case !isOption && m.Name == "" && field != "":
			m.Name = field
		case key == "format" && isOption:
			if value != "json" && value != "text" {
				return m, fmt.Errorf("--call %s: the format is json or text", text)
			}
			m.JSON = value == "json"
		case key == "ignorestatus" && isOption:
			if m.IgnoreStatus, err = strconv.ParseBool(value); err != nil {
				return m, fmt.Errorf("--call %s: ignorestatus is true or false", text)
			}
		default:
			return m, fmt.Errorf("--call %s: %q is neither format=json nor ignorestatus=true", text, field)
		}
	}
	switch m.Name {
	case "":
		m.Name = Build
	case "lint":
		m.Name = Check
	case Build, Check, Outline, Targets:
	default:
		return m, fmt.Errorf("--call %s: there is no method %q%s; use build, check, outline or targets", text, m.Name,
			suggest.DidYouMean(m.Name, []string{Build, Check, Outline, Targets}))
	}
	return m, nil
}

// Location is a place in one of an answer's sources.
type Location struct {
	SourceIndex int                `json:"sourceIndex,omitempty"`
	Ranges      []dockerfile.Range `json:"ranges,omitempty"`
}

func location(at []dockerfile.Range) *Location {
	if len(at) == 0 {
		return nil
	}
	return &Location{Ranges: at}
}

func (l *Location) line() int {
	if l == nil || len(l.Ranges) == 0 {
		return 0
	}
	return l.Ranges[0].Start.Line
}

// version is that of BuildKit's subrequests whose answers these are.
const version = "1.0.0"

// Metadata is what buildx writes into the --metadata-file of an answer: what BuildKit answers it with.
func Metadata(answer interface {
	Write(io.Writer) error
	WriteJSON(io.Writer) error
}) (map[string]any, error) {
	var text, data bytes.Buffer
	if err := answer.Write(&text); err != nil {
		return nil, err
	}
	if err := answer.WriteJSON(&data); err != nil {
		return nil, err
	}
	m := map[string]any{"result.json": json.RawMessage(data.Bytes()), "result.txt": text.String(), "version": version}
	if f, ok := answer.(*Findings); ok {
		m["result.statuscode"] = "0"
		if !f.Clean() {
			m["result.statuscode"] = "1"
		}
	}
	return m, nil
}

// writeJSON writes an answer as buildx does: indented, with an end of line.
func writeJSON(w io.Writer, answer any) error {
	b, err := json.MarshalIndent(answer, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", b)
	return err
}
