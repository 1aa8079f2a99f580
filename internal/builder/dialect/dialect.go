// Package dialect holds what Docker's two builders do differently, as policies with names. Graph follows BuildKit: what docker
// build does since 23.0. Classic follows Docker's first builder, as with DOCKER_BUILDKIT=0.
//
// Nobody compares names of dialects to decide what to do: who needs a difference that has no policy yet adds one here.
package dialect

// Dialect is one builder's set of policies. It does not change.
type Dialect struct {
	// Name is what people and records of builds call it: "graph" or "classic".
	Name  string
	Copy  Copy
	Run   Run
	Steps Steps
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
	// DiscardsVolumes drops what a RUN changes in the directory of a VOLUME: it works on an anonymous volume there, which
	// goes with its container.
	DiscardsVolumes bool
	// LimitsOutput clips what a step prints.
	LimitsOutput bool
}

// Steps says how the steps of a build are ordered, looked up and recorded.
type Steps struct {
	// StagesInOrder builds one stage after the other, not all at once.
	StagesInOrder bool
	// KeyedByPosition makes all that came before a part of a step's key, by the step ID. Without it, the files count that the
	// step starts from. Steps that only change the configuration are then looked up too, since their time makes their ID.
	KeyedByPosition bool
	// KeepsEmptyLayers gives a step that changed no file an empty layer; without it the step has none.
	KeepsEmptyLayers bool
	// AuthorInRows writes the author to every history row, and takes the base image's away (moby, image.NewChildImage). Without
	// it rows have BuildKit's comment, and the author is in the config only.
	AuthorInRows bool
}

// Graph follows BuildKit.
func Graph() Dialect {
	return Dialect{
		Name:  "graph",
		Copy:  Copy{UserOwnsWorkdir: true},
		Run:   Run{LimitsOutput: true},
		Steps: Steps{KeepsEmptyLayers: true},
	}
}

// Classic follows Docker's first builder.
func Classic() Dialect {
	return Dialect{
		Name:  "classic",
		Copy:  Copy{StrictSources: true, ServerNamesFiles: true, GroupIsUser: true, RootOwnsParents: true},
		Run:   Run{DiscardsVolumes: true},
		Steps: Steps{StagesInOrder: true, KeyedByPosition: true, AuthorInRows: true},
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
