package cache

import (
	"slices"
	"strings"
)

// PartName says what a part of a key is: it is a row of the table below. Names as strings stand in that table only, so
// that those who make keys and those who explain them cannot mean different things.
type PartName uint8

// The parts of keys.
const (
	partUnknown PartName = iota // of a record that another version of strata made

	// RUN.
	PartArg      // a word of the command, one part for each
	PartScript   // the text of a here-document that an interpreter of its own runs
	PartEnv      // NAME=VALUE, sorted; no proxies
	PartUser     // as USER has it
	PartDir      // the working directory
	PartNetwork  // see runner.Network
	PartHost     // the name of an --add-host
	PartHostname // BUILDKIT_SANDBOX_HOSTNAME
	PartUlimit   // NAME=SOFT:HARD
	PartShm      // bytes of /dev/shm, where they are not the usual ones
	PartSecurity // "insecure"
	PartMount    // how a mount is made: type, target, access, …
	PartMounted  // digest and target of what a mount shows
	PartSecret   // what is said of a secret, and nothing of what it holds
	PartSSH      // what is said of an SSH agent

	// COPY, ADD and WORKDIR.
	PartPath       // the directory of a WORKDIR
	PartDest       // the destination of a COPY, and whether it has to be a directory
	PartChown      // --chown
	PartChmod      // --chmod
	PartUnpack     // --unpack, where it is not what the instruction does anyway
	PartParents    // --parents
	PartLink       // --link
	PartInline     // name and digest of a here-document
	PartContent    // digest of what the sources select
	PartOrder      // which sources of an ADD are files, URLs and repositories: "fug"
	PartExclude    // a pattern of --exclude
	PartURL        // digest of the bytes of a URL
	PartFile       // the name that a URL's file gets
	PartUnpackURL  // the file of a URL is unpacked
	PartGit        // the commit of a repository
	PartSubdir     // the directory of the repository that is copied
	PartGitDir     // where a .git directory that is kept says that it comes from
	PartSubmodules // "false" without them
	PartMTime      // "commit" where files have the time of the commit

	// Every step.
	PartPlatform    // that the step is for
	PartChain       // chainID of what the step starts from; see ChainPart
	PartAfter       // of the classic engine: the ID of the step before
	PartInstruction // of the classic engine: its text, as expanded
	PartOwners      // "classic": its rules of --chown are others
	PartVolume      // of the classic engine: a VOLUME, in which a RUN leaves nothing
	PartTables      // by what tables of contents layers are read in parts; none for whole layers
	PartLayers      // of a weak key: the layers below, but for those that are observed; see Weaken

	// The selection of a COPY --from or a mount, which has a record of its own.
	PartSource      // a source as written
	PartSourceDir   // the destination has to be a directory
	PartStrict      // the rules of the classic engine for sources
	PartMountSource // source= of a mount
	partCount       // one more than there are
)

// partRow is what there is to know about a part.
type partRow struct {
	name  string // in keys and records, for ever
	label string // for people; the name where there is none
	empty string // what no value means, for people
	// set says that a person sets it, one value at a time, so that it is compared by value.
	set bool
	// written says that the instruction's text tells it.
	written bool
	// hidden says that the history rows of an image do not tell that a RUN had it.
	hidden bool
}

var partTable = [partCount]partRow{
	PartArg:      {name: "arg", label: "shell"},
	PartScript:   {name: "script"},
	PartEnv:      {name: "env", label: "environment variable"},
	PartUser:     {name: "user", empty: "root", set: true},
	PartDir:      {name: "dir", label: "working directory", empty: "/", set: true},
	PartNetwork:  {name: "network", empty: "default", set: true},
	PartHost:     {name: "host", label: "--add-host", empty: "none", set: true, hidden: true},
	PartHostname: {name: "hostname", label: "host name", empty: "strata", set: true, hidden: true},
	PartUlimit:   {name: "ulimit", label: "--ulimit", empty: "none", set: true, hidden: true},
	PartShm:      {name: "shm", label: "--shm-size", empty: "64m", set: true, hidden: true},
	PartSecurity: {name: "security", label: "--security", empty: "sandbox", set: true, hidden: true},
	PartMount:    {name: "mount", label: "mounts"},
	PartMounted:  {name: "mounted"},
	PartSecret:   {name: "secret"},
	PartSSH:      {name: "ssh"},

	PartPath:       {name: "path", label: "directory", empty: "/", set: true, written: true},
	PartDest:       {name: "dest", label: "destination"},
	PartChown:      {name: "chown", label: "--chown", empty: "none", set: true, written: true},
	PartChmod:      {name: "chmod", label: "--chmod", empty: "none", set: true, written: true},
	PartUnpack:     {name: "unpack"},
	PartParents:    {name: "parents"},
	PartLink:       {name: "link"},
	PartInline:     {name: "inline"},
	PartContent:    {name: "content"},
	PartOrder:      {name: "order"},
	PartExclude:    {name: "exclude"},
	PartURL:        {name: "url"},
	PartFile:       {name: "file"},
	PartUnpackURL:  {name: "unpack-url"},
	PartGit:        {name: "git"},
	PartSubdir:     {name: "subdir"},
	PartGitDir:     {name: "git-dir"},
	PartSubmodules: {name: "submodules"},
	PartMTime:      {name: "mtime"},

	PartPlatform:    {name: "platform", empty: "none", set: true},
	PartChain:       {name: "chain"},
	PartAfter:       {name: "after"},
	PartInstruction: {name: "instruction", label: "expanded"},
	PartOwners:      {name: "owners"},
	PartVolume:      {name: "volume"},
	PartTables:      {name: "tables", label: "tables of layers in parts", empty: "none", set: true},
	PartLayers:      {name: "layers"},

	// Keys of selections are compared with nothing: two of their names are those of other parts.
	PartSource:      {name: "source"},
	PartSourceDir:   {name: "dir"},
	PartStrict:      {name: "strict"},
	PartMountSource: {name: "mount"},
}

// partNamed is the part that a record calls by a name; partUnknown if this version has no such part.
func partNamed(name string) PartName {
	for n := partUnknown + 1; n < partCount; n++ {
		if partTable[n].name == name {
			return n
		}
	}
	return partUnknown
}

// String is the part's name in keys and records.
func (n PartName) String() string { return partTable[n].name }

// Label is the part's name for people.
func (n PartName) Label() string {
	if label := partTable[n].label; label != "" {
		return label
	}
	return partTable[n].name
}

// Show gives values of the part for people: what it means where they are empty.
func (n PartName) Show(values []string) string {
	if text := strings.Join(values, " "); text != "" {
		return text
	}
	return partTable[n].empty
}

// Written says that the text of an instruction tells the part.
func (n PartName) Written() bool { return partTable[n].written }

// Settings are the parts that people set, one value at a time.
func Settings() []PartName { return partsThat(func(r partRow) bool { return r.set }) }

// HiddenParts are those of a RUN that the history of an image is silent about.
func HiddenParts() []PartName { return partsThat(func(r partRow) bool { return r.hidden }) }

func partsThat(have func(partRow) bool) []PartName {
	var names []PartName
	for n, row := range partTable {
		if have(row) {
			names = append(names, PartName(n))
		}
	}
	return names
}

// Difference is a part that two keys have with other values.
type Difference struct {
	// Name is the part; Label is its name for people, and the only one of a part that this version does not know.
	Name          PartName
	Label         string
	Before, After []string
}

// Differences compares the parts of two keys. The parts of after come first, in their order.
func Differences(before, after []Part) []Difference {
	var found []Difference
	had := map[string]bool{}
	for _, p := range slices.Concat(after, before) {
		if had[p.Name] {
			continue
		}
		had[p.Name] = true
		was, is := values(before, p.Name), values(after, p.Name)
		if slices.Equal(was, is) {
			continue
		}
		d := Difference{Name: partNamed(p.Name), Label: p.Name, Before: was, After: is}
		if d.Name != partUnknown {
			d.Label = d.Name.Label()
		}
		found = append(found, d)
	}
	return found
}
