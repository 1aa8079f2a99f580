package solver

import (
	"path"
	"slices"
	"strings"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/sandbox/network"
	"github.com/strata-build/strata/internal/sandbox/runner"
)

// noteReached notes in the record of a step that ran what it fetched. A network of its own saw that. On the machine's
// nobody did, as the kernel counts for all processes together, and stopping a step at each connect(2) would slow it
// down.
func (s *Solver) noteReached(r *cache.Record, step *dockerfile.Step, seen *network.Report) {
	if step.Run == nil || seen == nil {
		r.Fetches = s.fetches(step)
		return
	}
	r.Reached = &cache.Reached{Hosts: seen.Hosts, Names: seen.Names}
	if len(seen.Hosts) > 0 {
		r.Fetches = cache.Seen
	}
}

// fetches says whether a step fetches from the network where that was not seen: it is inferred from what the step
// calls; what a script of the context fetches is not noticed. A step without a network fetches nothing for sure.
func (s *Solver) fetches(step *dockerfile.Step) string {
	if step.Run == nil || s.network(step.Run) == runner.NetworkNone || !callsFetcher(step.Run) {
		return ""
	}
	return cache.Inferred
}

// namesLoopback says whether what a RUN is given names the loopback: a proxy or an index there, as people have them.
func namesLoopback(r *dockerfile.Run) bool {
	names := func(text string) bool {
		return strings.Contains(text, "127.0.0.1") || strings.Contains(text, "localhost") || strings.Contains(text, "[::1]")
	}
	return slices.ContainsFunc(slices.Concat(r.Args, r.Env, r.ProxyEnv), names) || r.Script != nil && names(r.Script.Text)
}

// fetchers are the programs that fetch, each with the first arguments with which it does; without any it always
// does.
func fetchers() map[string][]string {
	apt := []string{"update", "install", "upgrade", "dist-upgrade", "full-upgrade", "build-dep", "source", "download", "reinstall"}
	dnf := []string{"install", "update", "upgrade", "makecache", "reinstall", "groupinstall", "download"}
	conda := []string{"install", "create", "update", "env"}
	return map[string][]string{
		"apt": apt, "apt-get": apt, "aptitude": apt, "debootstrap": nil, "mmdebstrap": nil,
		"apk": {"add", "update", "upgrade", "fetch"},
		"yum": dnf, "dnf": dnf, "microdnf": dnf, "tdnf": dnf,
		"zypper": {"install", "in", "refresh", "ref", "update", "up", "dist-upgrade", "dup"},
		"pacman": {"-S", "-Sy", "-Syu", "-Syyu", "-Su"},
		"pip":    {"install", "download", "wheel"}, "pipx": {"install", "run", "upgrade", "inject"},
		"uv": {"pip", "sync", "add", "tool", "lock"}, "poetry": {"install", "add", "update", "lock"}, "pdm": {"install", "add", "update", "sync"},
		"conda": conda, "mamba": conda, "micromamba": conda,
		"npm": {"install", "i", "ci", "add", "update", "exec"}, "npx": nil,
		"yarn": {"", "install", "add", "upgrade", "dlx"}, "pnpm": {"install", "i", "add", "update", "dlx"}, "bun": {"install", "i", "add", "update"},
		"gem": {"install", "update"}, "bundle": {"", "install", "update"}, "composer": {"install", "update", "require", "create-project"},
		"go": {"get", "install", "mod"}, "cargo": {"install", "fetch", "build", "update"}, "rustup": nil,
		"mvn": nil, "gradle": nil, "gradlew": nil, "dotnet": {"restore", "build", "publish", "add", "tool"}, "nuget": nil,
		"curl": nil, "wget": nil, "aria2c": nil, "scp": nil, "rsync": nil,
		"git": {"clone", "fetch", "pull", "submodule", "ls-remote"}, "svn": {"checkout", "co", "export", "update"}, "hg": {"clone", "pull"},
	}
}

// callsFetcher looks for one of the fetchers among the commands of a RUN.
func callsFetcher(r *dockerfile.Run) bool {
	if len(r.Args) == 0 {
		return false
	}
	known := fetchers()
	if !r.Shell {
		return callFetches(known, r.Args)
	}
	return slices.ContainsFunc(shellCalls(r.Args[len(r.Args)-1]), func(call []string) bool { return callFetches(known, call) })
}

// shellCalls cuts a script into commands, each a list of words. It knows quotes, no more of the shell's language:
// what looks like a command in a quoted text is none.
func shellCalls(script string) [][]string {
	var calls [][]string
	var call []string
	var word strings.Builder
	inWord := false
	endWord := func() {
		if inWord {
			call = append(call, word.String())
			word.Reset()
			inWord = false
		}
	}
	endCall := func() {
		endWord()
		if len(call) > 0 {
			calls = append(calls, call)
			call = nil
		}
	}
	quote := byte(0)
	for i := 0; i < len(script); i++ {
		c := script[i]
		switch {
		case c == '\\' && quote != '\'' && i+1 < len(script):
			i++
			if script[i] != '\n' {
				word.WriteByte(script[i])
				inWord = true
			}
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteByte(c)
		case c == '"' || c == '\'':
			quote, inWord = c, true
		case strings.IndexByte(" \t", c) >= 0:
			endWord()
		case strings.IndexByte(";&|()\n`", c) >= 0:
			endCall()
		default:
			word.WriteByte(c)
			inWord = true
		}
	}
	endCall()
	return calls
}

// callFetches says whether a command is one of the fetchers with an argument with which it fetches.
func callFetches(known map[string][]string, call []string) bool {
	call = withoutPrefix(call)
	if len(call) == 0 {
		return false
	}
	name := programName(call[0])
	arguments := call[1:]
	if name == "python" && len(arguments) > 1 && arguments[0] == "-m" {
		name, arguments = arguments[1], arguments[2:]
	}
	verbs, ok := known[name]
	if !ok || slices.ContainsFunc(arguments, staysLocal) {
		return false
	}
	if verbs == nil {
		return len(arguments) > 0 || strings.HasPrefix(name, "gradle")
	}
	first := ""
	for _, a := range arguments {
		if slices.Contains(verbs, a) {
			return true // also behind an option that takes a value: apt-get -o X=Y install
		}
		if first == "" && !strings.HasPrefix(a, "-") {
			first = a
		}
	}
	return slices.Contains(verbs, first)
}

// withoutPrefix takes off what stands before the command's name: variables, keywords of the shell, and programs that
// call another.
func withoutPrefix(call []string) []string {
	for len(call) > 0 {
		name, _, assigned := strings.Cut(call[0], "=")
		switch {
		case assigned && !strings.ContainsAny(name, "/-"):
		case slices.Contains([]string{"sudo", "exec", "env", "time", "nice", "command", "then", "do", "else", "if", "while", "until", "!", "{", "busybox"}, call[0]):
		default:
			return call
		}
		call = call[1:]
	}
	return nil
}

// programName is a program without its path and version: pip for /usr/bin/pip3.11.
func programName(word string) string {
	name := path.Base(word)
	for _, versioned := range []string{"pip", "python"} {
		if rest, ok := strings.CutPrefix(name, versioned); ok && strings.Trim(rest, "0123456789.") == "" {
			return versioned
		}
	}
	return name
}

// staysLocal says whether an option keeps a program from the network.
func staysLocal(option string) bool {
	switch option {
	case "--no-index", "--offline", "--no-network", "--no-download", "--version", "--help":
		return true
	}
	return false
}
