// Package dialect holds what Docker's two builders do differently, as policies with names. Graph
// follows BuildKit: what docker build does since 23.0. Classic follows Docker's first builder, as
// with DOCKER_BUILDKIT=0.
//
// Nobody compares dialects to decide what to do: whoever needs a difference that has no policy yet
// adds one here. dialect_test.go looks for comparisons in the whole program.
package dialect

// Dialect is one builder's set of policies. It does not change. The zero value is no dialect: see Or.
type Dialect struct {
	// Name is what people and records of builds call it: "graph" or "classic".
	Name   string
	File   File
	Config Config
	Copy   Copy
	Run    Run
	Steps  Steps
	Output Output
}

// File says what a Dockerfile may hold, and which of its stages and steps there are.
type File struct {
	// BuildKit accepts what only BuildKit knows: a syntax directive, flags of RUN, COPY and ADD, here-documents, git
	// sources, a stage name that is used twice.
	BuildKit bool
	// BuildKitArgs knows the arguments that BuildKit reads or sets itself: SOURCE_DATE_EPOCH,
	// BUILDKIT_…, TARGETPLATFORM.
	BuildKitArgs bool
	// Lint reports what is probably not meant.
	Lint bool
	// WholeFile builds all stages up to the target. Without it only those that the target needs are built, and checked.
	WholeFile bool
	// LabelSteps makes a LABEL at the target's end of each --label (moby, buildLabelOptions).
	// Without it they are set with no step.
	LabelSteps bool
}

// Config says how instructions change the image's config.
type Config struct {
	// EnvWins lets ENV win over ARG, shows predefined arguments without ARG, and hands a stage's
	// arguments not on to those that start from it (moby, dispatchArg and getBuildArg,
	// ResetAllowed). Without it the later of ARG and ENV counts (BuildKit, dispatchArg).
	EnvWins bool
	// EmptyCommands takes an empty shell form for the shell alone (moby, resolveCmdLine), which RUN refuses, and clears
	// ArgsEscaped. Without it the shell gets an empty command, and a CMD sets ArgsEscaped.
	EmptyCommands bool
	// InheritsHealthcheck fills what a HEALTHCHECK leaves open from the one before it (moby, daemon/commit.go).
	InheritsHealthcheck bool
	// ScratchHasRoot begins FROM scratch with the working directory / (BuildKit, emptyImage).
	ScratchHasRoot bool
	// StrictWorkdir refuses a WORKDIR that is empty, and makes a step of one that is /.
	StrictWorkdir bool
}

// Copy says how COPY, ADD and WORKDIR treat sources and owners.
type Copy struct {
	// StrictSources refuses sources that match nothing, and several for a destination that is no directory (moby,
	// getCopyInstruction). Without it no match is nothing to do, and the last of several files on one name stays.
	StrictSources bool
	// ServerNamesFiles takes a file's name from Content-Disposition where the URL of an ADD names none (moby,
	// getFilenameForDownload).
	ServerNamesFiles bool
	// GroupIsUser gives --chown=user the group of the same name or number, whatever /etc/passwd says (parseChownFlag in
	// builder/dockerfile/internals_linux.go).
	GroupIsUser bool
	// RootOwnsParents lets --chown reach neither the directories made above one that is copied (copyDirectory in
	// builder/dockerfile/copy.go) nor what an archive holds (performCopyForInfo).
	RootOwnsParents bool
	// UserOwnsWorkdir makes a WORKDIR for the USER, not for root.
	UserOwnsWorkdir bool
}

// Run says how a RUN is executed.
type Run struct {
	// DiscardsVolumes drops what a RUN changes in the directory of a VOLUME: it works on an
	// anonymous volume there, which goes with its container.
	DiscardsVolumes bool
	// LimitsOutput clips what a step prints.
	LimitsOutput bool
}

// Steps says how the steps of a build are ordered, looked up and recorded.
type Steps struct {
	// StagesInOrder builds one stage after the other, not all at once.
	StagesInOrder bool
	// KeyedByPosition makes all that came before a part of a step's key, by the step ID. Without
	// it, the files count that the step starts from. Steps that only change the configuration are
	// then looked up too, since their time makes their ID.
	KeyedByPosition bool
	// KeepsEmptyLayers gives a step that changed no file an empty layer; without it the step has none.
	KeepsEmptyLayers bool
	// ShellRows writes history rows as comments for the shell, "/bin/sh -c #(nop) …", with the
	// author in each, and takes the base image's author away (moby, image.NewChildImage). Without
	// it rows are the instructions with BuildKit's comment, an ONBUILD has none, and the author is
	// in the config only.
	ShellRows bool
}

// Output says what a person gives and sees.
type Output struct {
	// BuildKitOptions accepts options that only BuildKit has: --output, --build-context, several platforms, --call.
	BuildKitOptions bool
	// StepLines prints "Step 3/8 : RUN make" and IDs on standard output, and counts all
	// instructions. Without it BuildKit's progress goes to standard error, and what changes files
	// is counted by stage: "[build 2/5] RUN make".
	StepLines bool
}

// Graph follows BuildKit.
func Graph() Dialect {
	return Dialect{
		Name:   "graph",
		File:   File{BuildKit: true, BuildKitArgs: true, Lint: true},
		Config: Config{ScratchHasRoot: true},
		Copy:   Copy{UserOwnsWorkdir: true},
		Run:    Run{LimitsOutput: true},
		Steps:  Steps{KeepsEmptyLayers: true},
		Output: Output{BuildKitOptions: true},
	}
}

// Classic follows Docker's first builder.
func Classic() Dialect {
	return Dialect{
		Name:   "classic",
		File:   File{WholeFile: true, LabelSteps: true},
		Config: Config{EnvWins: true, EmptyCommands: true, InheritsHealthcheck: true, StrictWorkdir: true},
		Copy:   Copy{StrictSources: true, ServerNamesFiles: true, GroupIsUser: true, RootOwnsParents: true},
		Run:    Run{DiscardsVolumes: true},
		Steps:  Steps{StagesInOrder: true, KeyedByPosition: true, ShellRows: true},
		Output: Output{StepLines: true},
	}
}

// Named is the dialect of a name; false if there is none.
func Named(name string) (Dialect, bool) {
	for _, d := range []Dialect{Graph(), Classic()} {
		if d.Name == name {
			return d, true
		}
	}
	return Dialect{}, false
}

// Of is the dialect that a record of a build names; Graph for a name that is not known.
func Of(name string) Dialect {
	d, _ := Named(name)
	return d.Or(Graph())
}

// Or is d, or other for the zero value.
func (d Dialect) Or(other Dialect) Dialect {
	if d.Name == "" {
		return other
	}
	return d
}

// String is the name.
func (d Dialect) String() string { return d.Name }
