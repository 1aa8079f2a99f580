package event

// Vertex is something that begins and ends. It does not change once it was started.
type Vertex struct {
	Kind Kind
	// Name is how BuildKit's progress shows it, "" if that does not: "[build 2/5] RUN make".
	Name string
	// The others are of From and of steps only.

	Stage *Stage
	Text  string // the instruction as written, on one line
	// Number and Total are BuildKit's [Number/Total] in the stage, 0 for what it does not number.
	Number, Total int
	// Position is the i of the classic engine's Step i/N, 0 for a trigger of the base image.
	Position int
	Line     int
	// Index is the step's place among the instructions of its stage, -1 for a trigger of the base image.
	Index int
}

// Kind is what a vertex is.
type Kind string

// The kinds of vertices.
const (
	Phase     Kind = "phase"     // what is no step, such as reading the Dockerfile
	From      Kind = "from"      // looking up what a stage starts from
	Run       Kind = "run"       // the step of a RUN
	Copy      Kind = "copy"      // that of a COPY or ADD
	Workdir   Kind = "workdir"   // that of a WORKDIR
	Configure Kind = "configure" // a step that only changes the configuration
	Fetch     Kind = "fetch"     // bringing a URL or a git repository
	Export    Kind = "export"    // making an output
)

// IsStep says that a vertex of this kind is a step of a stage.
func (k Kind) IsStep() bool {
	switch k {
	case Run, Copy, Workdir, Configure:
		return true
	}
	return false
}

// Stage is a stage of a plan. All events of one stage carry equal IDs, not always the same pointer.
type Stage struct {
	StageID
	// Name is what progress shows, "" for the only stage.
	Name string
	// Shown is the platform that progress shows before the name where a build is for several: "linux/amd64->arm64".
	Shown string
	// From is an image, "scratch", "context NAME" or the name of a stage; Image says that it is an image.
	From  string
	Image bool
	// Instructions are the texts of all its instructions as written, those to come included.
	Instructions []string
}

// StageID tells the stages of a build apart.
type StageID struct {
	Platform string // that the plan is for: "linux/amd64"
	Index    int    // in the Dockerfile
}

// Status is what became of a vertex.
type Status string

// The states in which a vertex ends.
const (
	Cached     Status = "cached"     // a step whose layer came from a record
	Configured Status = "configured" // a step that needs no record, since it only changes the configuration
	Done       Status = "done"
	Failed     Status = "failed"
	Canceled   Status = "canceled" // it was stopped, because another failed or the person asked
)
