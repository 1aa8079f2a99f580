package adopt

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/sandbox/runner"
)

// rowText is what a history row says, without what its builder puts around the instruction.
type rowText struct {
	name     string // "ENV", "RUN", …; "" if the text is of no known form
	args     string // what follows the name; of a RUN everything, with build arguments and shell
	buildkit bool   // it ends in "# buildkit"
	shown    bool   // a RUN that begins with the word RUN, as in BuildKit and kaniko
}

// instructionNames are those that rows begin with.
const instructionNames = " ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE HEALTHCHECK LABEL MAINTAINER ONBUILD RUN SHELL STOPSIGNAL USER VOLUME WORKDIR "

// readRow reads a row's text. Docker's classic builder and buildah write a comment to the shell for whatever runs no
// command, "/bin/sh -c #(nop)  ENV A=b", and the bare command of a RUN; BuildKit writes "ENV A=b" and
// "RUN |1 A=b /bin/sh -c make # buildkit", kaniko the instruction as it stands in the Dockerfile. Only the shells
// given are taken for one: a RUN whose command has "#(nop)" in it stays a RUN.
func readRow(text string, shells []string) rowText {
	for _, shell := range shells {
		if comment, ok := strings.CutPrefix(text, shell+" #(nop) "); ok {
			name, args, _ := strings.Cut(strings.TrimLeft(comment, " "), " ")
			if !isInstruction(name) || name == "RUN" {
				return rowText{args: text}
			}
			return rowText{name: name, args: strings.TrimSpace(args)}
		}
	}
	plain, buildkit := strings.CutSuffix(text, " # buildkit")
	if name, args, _ := strings.Cut(plain, " "); isInstruction(name) {
		return rowText{name: name, args: strings.TrimSpace(args), buildkit: buildkit, shown: true}
	}
	if buildkit || text == "" {
		return rowText{args: text}
	}
	return rowText{name: "RUN", args: text}
}

func isInstruction(name string) bool {
	return name != "" && strings.Contains(instructionNames, " "+name+" ")
}

// sameRun says whether two rows are of one RUN, whichever engine wrote them.
func (t rowText) sameRun(other rowText) bool { return t.name == other.name && t.args == other.args }

// instruction is the first word of a step, and what follows it as it stands in the Dockerfile.
func instruction(step *dockerfile.Step) (name, args string) {
	name, args, _ = strings.Cut(strings.TrimSpace(step.Text), " ")
	return strings.ToUpper(name), strings.TrimSpace(args)
}

// Unverifiable is what a RUN with this key has and rows are silent about, as a reason; "" if it has
// only what they can be taken to mean.
func Unverifiable(key *cache.Key) string {
	if slices.Equal(key.Values(cache.PartNetwork), []string{string(runner.NetworkNone)}) {
		return "no row tells which network a RUN had, and this step is to have none"
	}
	for _, part := range cache.HiddenParts() {
		if len(key.Values(part)) > 0 {
			return "no row tells which " + part.Label() + " a RUN had, and this step has one"
		}
	}
	return ""
}

// matchRun says why a row's text is not that of a RUN; "" if it is. unverifiable is a reason that holds for every row.
func matchRun(row *Row, step *dockerfile.Step, unverifiable string) string {
	if row.name != "RUN" {
		return "its next layer is of " + row.quote()
	}
	if unverifiable != "" {
		return unverifiable
	}
	if name := contested(step); name != "" {
		return "ARG and ENV both set " + name + ", and builders differ in which counts"
	}
	run := step.Run
	if len(run.Mounts) > 0 || run.Script != nil {
		return "what was mounted for it is not in its text"
	}
	_, written := instruction(step)
	command := strings.Join(run.Args, " ")
	var forms, unsure []string
	for _, list := range buildArgLists(step) {
		prefix := argPrefix(list)
		if run.Shell || len(run.Args) == 1 && !strings.ContainsAny(command, " \t\n") {
			forms = append(forms, prefix+command)
		} else {
			// The row of an exec form has its words joined by blanks: it does not tell where one ends.
			unsure = append(unsure, prefix+command)
		}
		if !row.shown && (!run.Shell || strings.HasPrefix(command, "/bin/sh -c ")) {
			forms = append(forms, prefix+"/bin/sh -c "+written) // buildah
		}
	}
	kaniko := row.shown && !row.buildkit && row.args == written
	switch {
	case kaniko, slices.Contains(forms, row.args) && row.shown == row.buildkit:
		return ""
	case slices.Contains(unsure, row.args):
		return row.quote() + " does not tell where an argument of the exec form ends"
	}
	if _, theirs := cutBuildArgs(row.args); theirs == command {
		return row.quote() + " has other build arguments"
	}
	return "in its place is " + row.quote()
}

// buildArgLists are the build arguments of a RUN in the orders and selections in which builders show them:
// BuildKit in the order of ARG, the others sorted, and the classic builder without those that an ENV hides.
func buildArgLists(step *dockerfile.Step) [][]string {
	all := step.Run.BuildArgs
	visible := slices.DeleteFunc(slices.Clone(all), func(kv string) bool { return slices.Contains(step.Config.Env, kv) })
	return [][]string{all, slices.Sorted(slices.Values(all)), visible, slices.Sorted(slices.Values(visible))}
}

// contested is a build argument that an ENV sets to something else, "" for none: builders differ in which counts.
func contested(step *dockerfile.Step) string {
	env := environment(step.Config.Env)
	for _, kv := range step.Run.BuildArgs {
		name, value, _ := strings.Cut(kv, "=")
		if set, ok := env[name]; ok && set != value {
			return name
		}
	}
	return ""
}

// argPrefix is how rows show build arguments: "|1 A=b ".
func argPrefix(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return fmt.Sprintf("|%d %s ", len(list), strings.Join(list, " "))
}

// cutBuildArgs parts the build arguments from a command, for messages only: values may have blanks in them.
func cutBuildArgs(text string) (list, command string) {
	count, rest, ok := strings.Cut(text, " ")
	n, err := strconv.Atoi(strings.TrimPrefix(count, "|"))
	if !ok || err != nil || !strings.HasPrefix(count, "|") || n < 0 {
		return "", text
	}
	command = rest
	for range n {
		_, after, ok := strings.Cut(command, " ")
		if !ok {
			return "", text
		}
		command = after
	}
	return strings.TrimSuffix(rest, command), command
}
