package adopt

import (
	"fmt"
	"slices"
	"strings"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/image"
)

// sameConfig says why the configuration in which row at ran is not that of the step; "" if it is. Two things
// have to agree. Since the base image, which is the same, the rows that matter to a RUN (ENV, USER, WORKDIR, SHELL) are
// the build's own instructions, one by one. And the image's final configuration, which no text can be mistaken
// for, has what the step has, except where a later row changed it.
func (p *Image) sameConfig(at int, step *dockerfile.Step, discardsVolumes bool) string {
	written, reason := p.sameInstructions(at)
	if reason != "" {
		return reason
	}
	if row := &p.rows[at]; row.shown && !row.buildkit && p.hasArgs(at, step) {
		return row.quote() + " does not tell what its build arguments were"
	}
	if reason := p.sameVolumes(at, discardsVolumes); reason != "" {
		return reason
	}
	later := laterRows{before: p.rows[p.base:at], after: p.rows[at+1:], written: written}
	final := p.config.Config
	if !later.has("USER") && final.User != step.Run.User {
		return fmt.Sprintf("its user is %q, and no row says since when", final.User)
	}
	if !later.has("WORKDIR") && directory(final.WorkingDir) != directory(step.Config.WorkingDir) {
		return fmt.Sprintf("its directory is %q, and no row says since when", final.WorkingDir)
	}
	if !later.has("SHELL") && len(final.Shell) > 0 && !slices.Equal(final.Shell, step.Config.Shell) {
		return "its shell is another"
	}
	if written && (later.has("USER") || later.has("WORKDIR")) {
		return "a later row sets its user or directory anew, and the first one has a variable in it"
	}
	return later.sameEnv(environment(final.Env), environment(step.Config.Env))
}

// hasArgs says whether there are build arguments before a row, in the image or in this build. kaniko's rows do not
// tell their values.
func (p *Image) hasArgs(at int, step *dockerfile.Step) bool {
	return len(step.Run.BuildArgs) > 0 || slices.ContainsFunc(p.rows[p.base:at], func(r Row) bool { return r.name == "ARG" })
}

// sameInstructions compares the rows before at with the steps of this build. written says that one of them was found
// equal as it stands in the Dockerfile only, with a variable that was not expanded.
func (p *Image) sameInstructions(at int) (written bool, reason string) {
	ours := slices.DeleteFunc(slices.Clone(p.at.Past), func(s *dockerfile.Step) bool {
		name, _ := instruction(s)
		return !setsEnvironment(name)
	})
	for i := p.base; i < at; i++ {
		row := &p.rows[i]
		if row.name == "" {
			return false, row.quote() + " is of no known form, and may have changed the environment"
		}
		if !setsEnvironment(row.name) {
			continue
		}
		if len(ours) == 0 {
			return false, "this build has no " + row.quote() + " before the step"
		}
		same, raw := sameInstruction(row, ours[0])
		if !same {
			return false, fmt.Sprintf("where this build has %s it has %s", quoteText(ours[0].Text), row.quote())
		}
		written = written || raw
		ours = ours[1:]
	}
	if len(ours) > 0 {
		return false, fmt.Sprintf("it has no %s before the step", quoteText(ours[0].Text))
	}
	return written, ""
}

func setsEnvironment(name string) bool {
	return name == "ENV" || name == "USER" || name == "WORKDIR" || name == "SHELL"
}

// sameInstruction compares a row with an instruction, as expanded or as written; raw says that it was as written,
// and that there is a variable in it.
func sameInstruction(row *Row, step *dockerfile.Step) (same, raw bool) {
	name, written := instruction(step)
	if row.name != name {
		return false, false
	}
	if step.Workdir != nil && row.args == step.Workdir.Path {
		return true, false
	}
	expanded := step.CreatedBy("")
	if text := readRow(expanded, shellsOf(step)); expanded != "" && text.name == name && text.args == row.args {
		return true, false
	}
	return row.args == written, strings.Contains(written, "$")
}

// sameSetting is sameInstruction for what need not concern a RUN: EXPOSE stands as a map in rows of BuildKit.
func sameSetting(row *Row, step *dockerfile.Step) bool {
	if same, _ := sameInstruction(row, step); same {
		return true
	}
	name, written := instruction(step)
	return name == "EXPOSE" && row.name == name && slices.Equal(ports(row.args), ports(written))
}

// ports are those that an EXPOSE names, sorted: "8000/tcp", "8000" or "map[8000/tcp:{}]".
func ports(args string) []string {
	list := strings.Fields(strings.TrimSuffix(strings.TrimPrefix(args, "map["), "]"))
	for i, port := range list {
		if port = strings.TrimSuffix(port, ":{}"); !strings.Contains(port, "/") {
			port += "/tcp"
		}
		list[i] = port
	}
	slices.Sort(list)
	return list
}

// shellsOf are the shells that can stand before a step's row of the classic engine.
func shellsOf(step *dockerfile.Step) []string {
	shells := []string{"/bin/sh -c"}
	if len(step.Config.Shell) > 0 {
		shells = append(shells, strings.Join(step.Config.Shell, " "))
	}
	return shells
}

// sameVolumes is about what a RUN leaves in the directory of a VOLUME: BuildKit keeps it, the classic builder does not,
// and of the others one cannot be sure.
func (p *Image) sameVolumes(at int, discardsVolumes bool) string {
	volumes := len(p.at.Config.Config.Volumes) > 0 || slices.ContainsFunc(p.rows[p.base:at], func(r Row) bool { return r.name == "VOLUME" })
	if volumes && (discardsVolumes || !p.rows[at].buildkit) {
		return "there is a VOLUME before, and builders differ in whether a RUN changes what is in it"
	}
	return ""
}

// laterRows tell which parts of the final configuration were set before a row, and which after it.
type laterRows struct {
	before, after []Row
	written       bool
}

func (l laterRows) has(name string) bool {
	return slices.ContainsFunc(l.after, func(r Row) bool { return r.name == name })
}

// sameEnv compares the final environment with that of the step.
func (l laterRows) sameEnv(final, step map[string]string) string {
	for _, name := range sortedNames(final, step) {
		there, isThere := final[name]
		here, isHere := step[name]
		mentions := func(r Row) bool { return r.name == "ENV" && mentionsVariable(r.args, name) }
		if !slices.ContainsFunc(l.after, mentions) {
			switch {
			case !isHere:
				return fmt.Sprintf("it has the variable %s, and no row says since when", name)
			case !isThere || here != there:
				return fmt.Sprintf("the variable %s has another value in it", name)
			}
			continue
		}
		// The last value is another one, so that the rows' text alone tells what it was. That has to be beyond doubt:
		// in "ENV A=b C=d" the value of A may be "b C=d".
		vague := func(r Row) bool { return mentions(r) && !isPlain(r.args) }
		if l.written || slices.ContainsFunc(l.before, vague) {
			return fmt.Sprintf("a later row sets the variable %s anew, and the first does not tell its value clearly", name)
		}
	}
	return ""
}

func sortedNames(a, b map[string]string) []string {
	var names []string
	for name := range a {
		names = append(names, name)
	}
	for name := range b {
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// environment makes a map of an environment. Without a PATH a process has the default one.
func environment(list []string) map[string]string {
	env := map[string]string{"PATH": image.DefaultPath}
	for _, kv := range list {
		name, value, _ := strings.Cut(kv, "=")
		env[name] = value
	}
	return env
}

// mentionsVariable says whether the text of an ENV may set a variable: rather once too often.
func mentionsVariable(args, name string) bool {
	if first, _, ok := strings.Cut(args, " "); ok && first == name {
		return true // ENV A b
	}
	for rest, seen := args, byte(' '); ; {
		i := strings.Index(rest, name+"=")
		if i < 0 {
			return false
		}
		if i > 0 {
			seen = rest[i-1]
		}
		if seen != '_' && (seen < '0' || seen > '9') && (seen < 'A' || seen > 'Z') && (seen < 'a' || seen > 'z') {
			return true
		}
		rest, seen = rest[i+len(name):], name[len(name)-1]
	}
}

// isPlain says that there is one NAME=VALUE, to be taken as it stands.
func isPlain(args string) bool {
	return strings.Count(args, "=") == 1 && !strings.ContainsAny(args, " \t\n\"'\\$")
}

func directory(dir string) string {
	if dir == "" {
		return "/"
	}
	return dir
}
