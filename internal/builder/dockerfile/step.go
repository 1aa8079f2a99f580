package dockerfile

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/strata-build/strata/internal/image"
)

// Step is one instruction of a stage, with arguments and variables expanded.
type Step struct {
	Stage *Stage
	Place

	// At most one of these is set; without any, the step changes only the config.
	Run     *Run
	Copy    *Copy
	Workdir *Workdir

	// Config is the image's config after this step. Its slices and maps are shared with other steps' configs: to change
	// one, take Walk.Config, which is a copy.
	Config image.Runtime
	Author string // the image's author after this step, "" if none was set since the base image
	// EmptyLayer says that the step makes no layer. It is false for a classic WORKDIR, which makes one only if the
	// directory was not there.
	EmptyLayer bool

	file *File
	row  rowText
}

// Place says where in the Dockerfile a step stands, and how the engines show it.
type Place struct {
	// Number and Total are BuildKit's [Number/Total] within the stage, where FROM of an image is 1. Number is 0 if
	// BuildKit shows no such step: the instruction changes only the config.
	Number, Total int
	// Position is the i of the classic engine's Step i/N. Triggers of the base image have none.
	Position      int
	Text          string // the instruction as written, on one line
	Name          string // the instruction as BuildKit shows it, expanded
	Line, EndLine int    // those of FROM for a trigger of the base image
	OnBuild       bool   // a trigger of the base image
}

// rowText is what is known of a step's history row.
type rowText struct {
	text string // as far as it is known
	none bool   // the step has no row
	copy bool   // classic COPY and ADD: text lacks what was copied
}

// Run is a command to run.
type Run struct {
	Args  []string // with the shell in front, if Shell
	Shell bool     // the shell form
	Env   []string // of the process: the config's and the build arguments in scope; no proxies
	// BuildArgs are the build arguments that the history shows, K=V, in its order: that of ARG for BuildKit, sorted for
	// Docker's classic builder.
	BuildArgs []string
	ProxyEnv  []string // predefined proxy arguments; no part of any key
	Dir       string   // absolute, "/" if the config has none
	User      string   // as in the config, "" is root
	Network   string   // "" or "default", "none", "host"
	Insecure  bool     // --security=insecure
	Mounts    []Mount  // in the order in which they are written
	Script    *Script  // what Args runs, if that is a here-document with an interpreter of its own; nil for others
}

// HasSecrets says that the command may be given secrets, the use of an ssh agent, or the address of a proxy with a password.
func (r *Run) HasSecrets() bool {
	return slices.ContainsFunc(r.Mounts, func(m Mount) bool { return m.Type == MountSecret || m.Type == MountSSH }) ||
		slices.ContainsFunc(r.ProxyEnv, func(env string) bool { return strings.Contains(env, "@") })
}

// Copy is files to copy.
type Copy struct {
	Add       bool     // an ADD
	Unpack    bool     // archives among the sources are unpacked
	UnpackURL bool     // and those that come from a URL too
	Sources   []string // expanded, as written
	// Remote are those of the sources that are no paths, at their places, with nil at the others; nil if all are paths.
	Remote   []*RemoteSource
	Inline   []InlineFile // here-documents, which come after the sources
	Parents  bool         // --parents: sources keep the directories that they are in
	Exclude  []string     // --exclude: patterns of what is left out, as in .dockerignore, below each source
	Link     bool         // --link: the layer is made without a look at what is below it
	Dest     string       // absolute and clean
	DestDir  bool         // written so that it can only be a directory: "dir/", ".", "dir/."
	DestText string       // expanded, as written
	From     Source       // the zero value is the context
	Chown    string       // user[:group], names or numbers, "" for 0:0
	Chmod    string       // octal or symbolic, "" to keep the mode
}

// InlineFile is a here-document among the sources of a COPY or ADD: a file with mode 0644.
type InlineFile struct {
	Name, Data string
}

// Workdir is a directory that has to be there.
type Workdir struct {
	Path string // absolute and clean
	User string // who owns it if it is made, as in the config; "" for root
}

// Stages are those that the step copies or mounts from.
func (s *Step) Stages() []*Stage {
	var stages []*Stage
	if s.Copy != nil && s.Copy.From.Stage != nil {
		stages = append(stages, s.Copy.From.Stage)
	}
	if s.Run != nil {
		for i := range s.Run.Mounts {
			if from := s.Run.Mounts[i].From.Stage; from != nil {
				stages = append(stages, from)
			}
		}
	}
	return stages
}

// Err says that running the step failed, and where the step stands.
func (s *Step) Err(err error) *Error { return s.file.errorAt(err, s.Line, s.EndLine) }

// Err says that the stage's FROM could not be resolved, and where it stands.
func (s *Stage) Err(err error) *Error { return s.plan.file.errorAt(err, s.Line, s.EndLine) }

// Vertex is the step as BuildKit's progress shows it: "[build 2/5] RUN make". "" if it shows none.
func (s *Step) Vertex() string {
	if s.Number == 0 {
		return ""
	}
	name := s.Name
	if s.OnBuild {
		name = "ONBUILD " + name
	}
	return s.Stage.vertex(s.Number, s.Total, name)
}

// FromVertex is the base image as BuildKit's progress shows it: "[build 1/5] FROM
// docker.io/library/debian:12@sha256:…"; ref is the image's full name.
func (s *Stage) FromVertex(ref string) string { return s.vertex(1, s.Total, "FROM "+ref) }

// vertex pads the number to the width that BuildKit's logarithm gives it (prefixCommand in convert.go).
func (s *Stage) vertex(number, total int, name string) string {
	stage := strings.TrimSpace(s.ShownPlatform() + " " + s.DisplayName)
	if stage != "" {
		stage += " "
	}
	width := 1 + int(math.Log10(float64(max(total, 1))))
	return fmt.Sprintf("[%s%*d/%d] %s", stage, width, number, total, name)
}

// CreatedBy is the text of the step's history row, "" if it has none: BuildKit makes no row for ONBUILD. For a COPY or
// ADD of the classic engine, content is what was copied: "file:<hex>", "dir:<hex>" or "multi:<hex>".
func (s *Step) CreatedBy(content string) string {
	if s.row.none {
		return ""
	}
	if !s.row.copy {
		return s.row.text
	}
	// performCopy in Docker's builder/dockerfile/internals.go: no blank after --chown, and one at the end.
	return s.row.text + content + " in " + s.Copy.DestText + " "
}

// nop is a history row of Docker's classic builder for what runs no command: a comment given to the shell. There are
// two blanks behind #(nop) where the comment is an argument of its own (withCmdComment), one where it is not (WORKDIR,
// COPY and ADD: withCmdCommentString).
func nop(shell []string, blank, comment string) string {
	return strings.Join(shell, " ") + " #(nop) " + blank + comment
}
