package dockerfile

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/strata-build/strata/internal/builder/dialect"
	"github.com/strata-build/strata/internal/image"
)

// fails parses, plans and walks (from base) until something fails.
func fails(t *testing.T, source string, o Options, base image.Runtime) *Error {
	t.Helper()
	var located *Error
	if err := build(source, o, base); !errors.As(err, &located) {
		t.Fatalf("no *Error but %v", err)
	}
	return located
}

// build walks every stage; images have the config base.
func build(source string, o Options, base image.Runtime) error {
	f, err := Parse([]byte(source), "Dockerfile")
	if err != nil {
		return err
	}
	if o.Platform.OS == "" {
		o.Platform = testPlatform
	}
	p, err := f.Plan(o)
	if err != nil {
		return err
	}
	ends := map[*Stage]image.Runtime{}
	for _, s := range p.Stages {
		from := base
		if s.Base.Stage != nil {
			from = ends[s.Base.Stage]
		}
		w, err := s.Walk(from)
		if err != nil {
			return err
		}
		for err == nil {
			_, err = w.Next()
		}
		if err != io.EOF {
			return err
		}
		ends[s] = w.Config()
	}
	return nil
}

func TestErrors(t *testing.T) {
	for _, test := range []struct {
		name, text string
		options    Options
		base       image.Runtime
		line       int
		want       string // in the message
	}{
		{name: "empty", text: " \n\n", want: "the Dockerfile is empty"},
		{name: "bom only", text: "\xef\xbb\xbf\n", want: "the Dockerfile is empty"},
		{name: "comments only", text: "# nothing\n", line: 1, want: "no instructions"},
		{name: "no FROM", text: "ARG A\n", want: "no FROM"},
		{name: "before FROM", text: "# x\nRUN a\nFROM b\n", line: 2, want: "no FROM before this instruction"},
		{name: "unknown instruction", text: "FROM a\n\nCOPPY a b\n", line: 3, want: "unknown instruction: COPPY (did you mean COPY?)"},
		{name: "unknown flag", text: "FROM a\nCOPY --chownn=1 a b\n", line: 2, want: "unknown flag: --chownn (did you mean --chown?)"},
		{name: "flag like two", text: "FROM a\nCOPY --chwon=1 a b\n", line: 2, want: "unknown flag: --chwon (did you mean --chown?)"},
		{name: "flag of another instruction", text: "FROM a\nADD --parent a b\n", line: 2, want: "unknown flag: --parent"},
		{name: "mount type", text: "FROM a\nRUN --mount=type=cahce,target=/c x\n", line: 2, want: `unsupported mount type "cahce" (did you mean cache?)`},
		{name: "sharing", text: "FROM a\nRUN --mount=type=cache,target=/c,sharing=loked x\n", line: 2, want: `unsupported sharing value "loked" (did you mean locked?)`},
		{name: "platform of a misspelled variable", text: "FROM --platform=$BULIDPLATFORM a\n", line: 1, want: "--platform=$BULIDPLATFORM expands to nothing (did you mean $BUILDPLATFORM?); give"},
		{name: "platform without architecture", text: "ARG MY_ARCH=arm64\nFROM --platform=linux/${MYARCH} a\n", line: 2, want: "--platform=linux/${MYARCH} expands to linux/ (did you mean $MY_ARCH?); give"},
		{name: "architecture", text: "FROM --platform=linux/amd46 a\n", line: 1, want: "there is no architecture amd46 (did you mean amd64?)"},
		{name: "base of a misspelled variable", text: "ARG VERSION=1\nFROM $VERSOIN\n", line: 2, want: "$VERSOIN expands to nothing (did you mean $VERSION?)"},
		{name: "bad variable", text: "FROM a\nUSER ${X:?who}\n", line: 2, want: "X: who"},
		{name: "bad substitution", text: "FROM a\nUSER ${X\n", line: 2, want: "missing '}'"},
		{name: "unclosed quote", text: "FROM a\nUSER \"x\n", line: 2, want: "double-quote"},
		{name: "empty base", text: "ARG V\nFROM $V\n", line: 2, want: "the name of the base image is empty"},
		{name: "FROM too long", text: "FROM a b c d\n", line: 1, want: "FROM requires either one or three arguments"},
		{name: "stage name", text: "FROM a AS 1x\n", line: 1, want: "invalid name for build stage"},
		{name: "unknown target", text: "FROM a AS build\nFROM b\nFROM c AS test\n", options: Options{Target: "biuld"}, want: `target stage "biuld" could not be found (did you mean build?); the stages are build, 1, test`},
		{name: "target index with a zero", text: "FROM a\nFROM b\n", options: Options{Target: "01"}, want: "could not be found; the stages are 0, 1"},
		{name: "target index", text: "FROM a\n", options: Options{Target: "1"}, want: "could not be found; the stages are 0"},
		{name: "duplicate name", text: "FROM a AS x\nFROM b AS x\n", options: Options{Dialect: dialect.Classic()}, line: 2, want: `the stage name "x" is already used in line 1`},
		{name: "copy from later", text: "FROM a AS x\nCOPY --from=y / /\nFROM b AS y\nFROM x\n", line: 2, want: `the stage "y" in line 3 must come before this one, x`},
		{name: "copy from itself", text: "FROM a AS x\nCOPY --from=X / /\n", line: 2, want: "COPY --from=X: a stage cannot copy or mount from itself"},
		{name: "copy from later index", text: "FROM a\nCOPY --from=1 / /\nFROM 0\nFROM b\nCOPY --from=0 / /", line: 2, want: "stage 1 does not come before this one, 0"},
		{name: "copy from no index", text: "FROM a\nCOPY --from=7 / /\n", line: 2, want: "there is no stage of this index"},
		{name: "copy from variable", text: "FROM a\nCOPY --from=$X / /\n", line: 2, want: "does not expand variables"},
		{name: "copy nothing", text: "FROM a\nCOPY b\n", line: 2, want: "at least two arguments"},
		{name: "copy url", text: "FROM a\nCOPY https://x /\n", line: 2, want: "cannot be a URL"},
		{name: "copy url expanded", text: "FROM a\nARG U=http://x\nCOPY $U/y /\n", line: 3, want: "COPY http://x/y: the source of a COPY cannot be a URL; use ADD"},
		{name: "copy git", text: "FROM a\nCOPY git@github.com:x/y /\n", line: 2, want: "cannot be a git repository; use ADD"},
		{name: "add url without host", text: "FROM a\nADD http:///x /\n", line: 2, want: "names no host"},
		{name: "add git query", text: "FROM a\nADD https://x/y.git?a=b /\n", line: 2, want: "unknown query"},
		{name: "add git option", text: "FROM a\nADD https://x/y.git#--upload-pack=x /\n", line: 2, want: "invalid git ref"},
		{name: "add git twice", text: "FROM a\nADD --keep-git-dir=false https://x/y.git?keep-git-dir=1 /\n", line: 2, want: "contradicts --keep-git-dir"},
		{name: "add git commits", text: "FROM a\nADD --checksum=abc https://x/y.git?commit=def /\n", line: 2, want: "another commit than the address"},
		{name: "classic git", text: "FROM a\nADD git@github.com:x/y /\n", line: 2, options: Options{Dialect: dialect.Classic()}, want: "a git repository requires BuildKit"},
		{name: "mount", text: "FROM a\nRUN --mount=type=cache,target=/c x\n", options: Options{Dialect: dialect.Classic()}, line: 2, want: "the --mount option requires BuildKit"},
		{name: "insecure", text: "FROM a\nRUN --security=insecure x\n", line: 2, want: "security.insecure is not allowed: if you trust this Dockerfile, build it with --allow security.insecure"},
		{name: "insecure trigger", text: "FROM a\n", base: onBuild("RUN --security=insecure x"), line: 1, want: "security.insecure is not allowed"},
		{name: "host network", text: "FROM a\nRUN --network=host x\n", options: Options{Allow: []Entitlement{AllowSecurityInsecure}}, line: 2, want: "network.host is not allowed"},
		{name: "device", text: "FROM a\nRUN --device=vendor.com/x=y x\n", line: 2, want: "RUN --device is not supported"},
		{name: "mount type", text: "FROM a\nRUN --mount=type=cash,target=/c x\n", line: 2, want: `unsupported mount type "cash"`},
		{name: "mount option", text: "FROM a\nRUN --mount=type=bind,targe=/c x\n", line: 2, want: "unexpected key 'targe' in 'targe=/c' (did you mean target?)"},
		{name: "mount from variable", text: "FROM a\nRUN --mount=from=$X,target=/c x\n", line: 2, want: "'from' doesn't support variable expansion"},
		{name: "mount from later", text: "FROM a AS x\nRUN --mount=from=y,target=/c x\nFROM b AS y\nFROM x\n", line: 2, want: `RUN --mount=from=y: the stage "y" in line 3 must come before this one, x`},
		{name: "mount from itself", text: "FROM a AS x\nRUN --mount=from=X,target=/c x\n", line: 2, want: "a stage cannot copy or mount from itself"},
		{name: "mount on root", text: "FROM a\nWORKDIR /a\nRUN --mount=target=.. x\n", line: 3, want: `the target ".." is the root directory`},
		{name: "mount source of ssh", text: "FROM a\nRUN --mount=type=ssh,source=x x\n", line: 2, want: "an ssh mount has no source"},
		{name: "run heredoc", text: "FROM a\nRUN <<E\nx\nE\n", options: Options{Dialect: dialect.Classic()}, line: 2, want: "a here-document (<<) requires BuildKit"},
		{name: "run heredoc without end", text: "FROM a\nRUN <<E\nx\n", line: 2, want: "unterminated heredoc"},
		{name: "script name", text: "FROM a\nRUN <<../E\n#!/bin/sh\n../E\n", line: 2, want: "must be that of a file"},
		{name: "copy heredoc", text: "FROM a\nCOPY <<E /x\nx\nE\n", options: Options{Dialect: dialect.Classic()}, line: 2, want: "here-document (<<) requires BuildKit"},
		{name: "copy heredoc name", text: "FROM a\nCOPY <<a/b /x\nx\na/b\n", line: 2, want: "a name with a / cannot be that of a file"},
		{name: "link", text: "FROM a\nCOPY --link a b\n", options: Options{Dialect: dialect.Classic()}, line: 2, want: "the --link option requires BuildKit"},
		{name: "classic chmod", text: "FROM a\nCOPY --chmod=755 a b\n", options: Options{Dialect: dialect.Classic()}, line: 2, want: "the --chmod option requires BuildKit"},
		{name: "exclude", text: "FROM a\nCOPY --exclude=x a b\n", options: Options{Dialect: dialect.Classic()}, line: 2, want: "the --exclude option requires BuildKit"},
		{name: "parents", text: "FROM a\nCOPY --parents a b\n", options: Options{Dialect: dialect.Classic()}, line: 2, want: "the --parents option requires BuildKit"},
		{name: "checksum", text: "FROM a\nADD --checksum=sha256:0 a b\n", line: 2, want: "checksum requires HTTP(S) or Git sources"},
		{name: "checksum of a url", text: "FROM a\nADD --checksum=md5:0 http://x/y b\n", line: 2, want: "unsupported digest algorithm; it takes sha256:, sha384: or sha512:"},
		{name: "checksum of a repository", text: "FROM a\nADD --checksum=xyz https://x/y.git b\n", line: 2, want: "invalid checksum xyz of a git repository"},
		{name: "unpack", text: "FROM a\nADD --unpack a b\n", options: Options{Dialect: dialect.Classic()}, line: 2, want: "the --unpack option requires BuildKit"},
		{name: "chmod symbolic", text: "FROM a\nCOPY --chmod=u+y a b\n", line: 2, want: "this is no mode"},
		{name: "chmod", text: "FROM a\nCOPY --chmod=888 a b\n", line: 2, want: "must be octal"},
		{name: "chmod large", text: "FROM a\nCOPY --chmod=17777 a b\n", line: 2, want: "must be octal"},
		{name: "network", text: "FROM a\nRUN --network=some x\n", line: 2, want: `invalid network mode "some"`},
		{name: "platform", text: "FROM --platform=windows/amd64 a\n", line: 1, want: "--platform=windows/amd64: images are built for Linux only"},
		{name: "platform empty", text: "FROM --platform=$X a\n", line: 1, want: "expands to nothing"},
		{name: "platform bad", text: "FROM --platform=a/b/c/d a\n", line: 1, want: "os/architecture"},
		{name: "syntax", text: "# syntax=some/frontend:1\nFROM a\n", line: 1, want: "only docker/dockerfile is understood"},
		{name: "escape", text: "# escape=x\nFROM a\n", line: 1, want: "escape=x"},
		{name: "escape twice", text: "# escape=`\n# escape=`\nFROM a\n", line: 2, want: "only one escape"},
		{name: "check", text: "# check=skipp=all\nFROM a\n", line: 1, want: "invalid check option"},
		{name: "onbuild from", text: "FROM a\nONBUILD FROM b\n", line: 2, want: "FROM isn't allowed as an ONBUILD trigger"},
		{name: "onbuild onbuild", text: "FROM a\nONBUILD ONBUILD RUN b\n", line: 2, want: "Chaining ONBUILD"},
		{name: "trigger", text: "ARG X\nFROM a\nRUN b\n", base: onBuild("COPPY a b"), line: 2, want: `ONBUILD "COPPY a b": unknown instruction`},
		{name: "trigger expanded", text: "FROM a\n", base: onBuild("RUN --mount=type=tmpfs,target=/ y"), line: 1, want: "the target \"/\" is the root directory"},
		{name: "trigger fails", text: "FROM a\n", base: onBuild("STOPSIGNAL X"), line: 1, want: "no such signal"},
		{name: "signal", text: "FROM a\nSTOPSIGNAL SIGNONE\n", line: 2, want: "there is no such signal"},
		{name: "port", text: "FROM a\nEXPOSE 70000\n", line: 2, want: `EXPOSE 70000: "70000" is neither a port`},
		{name: "protocol", text: "FROM a\nEXPOSE 80/icmp\n", line: 2, want: "none of tcp, udp and sctp"},
		{name: "ports", text: "FROM a\n" + strings.Repeat("EXPOSE 0-65535\n", 4), line: 5, want: "more than 196608 ports"},
		{name: "instructions", text: "FROM a\n" + strings.Repeat("RUN x\n", 20000), want: "20001 instructions, more than the 20000"},
		{name: "port range", text: "FROM a\nEXPOSE 80-70\n", line: 2, want: "neither a port"},
		{name: "shell not json", text: "FROM a\nSHELL bash -c\n", line: 2, want: "SHELL requires the arguments to be in JSON form"},
		{name: "health", text: "FROM a\nHEALTHCHECK PING x\n", line: 2, want: "Unknown type"},
		{name: "health interval", text: "FROM a\nHEALTHCHECK --interval=1us CMD x\n", line: 2, want: "cannot be less than"},
		{name: "volume", text: "FROM a\nVOLUME $X\n", line: 2, want: "the path is empty"},
		{name: "classic workdir", text: "FROM a\nWORKDIR $X\n", options: Options{Dialect: dialect.Classic()}, line: 2, want: "the path is empty"},
		{name: "run nothing", text: "FROM a\nRUN []\n", line: 2, want: "RUN without a command"},
		{name: "nul", text: "FROM a\nRUN \x00\n", line: 2, want: "NUL"},
		{name: "long line", text: "FROM a\nRUN " + strings.Repeat("x", 70000) + "\n", line: 2, want: "the line has 70004 bytes"},
		{name: "large", text: strings.Repeat("#\n", 1<<19+1), want: "more than the 1048576 bytes that are allowed"},
		{name: "explosion", text: "FROM a\nENV A=0123456789\n" + strings.Repeat("ENV A=$A$A\n", 40), line: 19, want: "expand to more than is allowed"},
		{name: "explosion by replacement", text: "FROM a\nENV A=" + strings.Repeat("x", 9000) + "\nENV B=${A//x/$A}\n", line: 3, want: "expand to more than is allowed"},
		{name: "nested replacement", text: "FROM a\nENV A=xx\nENV B=${A//x/${A//x/${A//x/y}}}\n", line: 3, want: "inside another one is not supported"},
		{name: "nested replacement escaped", text: "FROM a\nENV A=xx\nENV B=${A//x/\\}${A//x/y}}\n", line: 3, want: "inside another one is not supported"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := fails(t, test.text, test.options, test.base)
			if err.Line != test.line || !strings.Contains(err.Error(), test.want) {
				t.Errorf("line %d: %v\nwant line %d and %q", err.Line, err, test.line, test.want)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %q", err.Error())
			}
			if shown := err.Excerpt(); (shown == "") != (test.line == 0) {
				t.Errorf("excerpt %q of line %d", shown, test.line)
			}
		})
	}
}

// A word that is like none gets no suggestion: BuildKit's parser offers RUN for FN.
func TestErrorsWithoutSuggestion(t *testing.T) {
	for _, text := range []string{
		"FROM a\nFN b\n", "FROM a\nCOPY --lik1 a b\n", "FROM a\nRUN --mount=type=bad,target=/c x\n",
		"FROM a\nRUN --mount=type=cache,xd=/c x\n",
	} {
		err := build(text, Options{}, image.Runtime{})
		if err == nil || strings.Contains(err.Error(), "did you mean") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func onBuild(triggers ...string) image.Runtime {
	var c image.Runtime
	c.OnBuild = triggers
	return c
}

func TestExcerpt(t *testing.T) {
	const six = "FROM a\r\nRUN b\r\nRUN c \\\r\n  d\r\nRUN e\r\nRUN f\r\n"
	for _, test := range []struct {
		name           string
		first, last    int
		want, fullText string
	}{
		{name: "middle", first: 2, last: 2, want: `Dockerfile:2
--------------------
   1 |     FROM a
   2 | >>> RUN b
   3 |     RUN c \
   4 |       d
--------------------
`},
		{name: "several lines", first: 3, last: 4, want: `Dockerfile:3
--------------------
   2 |     RUN b
   3 | >>> RUN c \
   4 | >>>   d
   5 |     RUN e
--------------------
`},
		{name: "past the end", first: 6, last: 99, want: `Dockerfile:6
--------------------
   5 |     RUN e
   6 | >>> RUN f
   7 | >>> 
--------------------
`},
		{name: "no such line", first: 8, last: 8},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := &Error{File: "Dockerfile", Line: test.first, EndLine: test.last, Source: []byte(six), Err: errors.New("x")}
			if got := e.Excerpt(); got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

func TestStepErr(t *testing.T) {
	p := mustPlan(t, "FROM a\nRUN b \\\n  c\n", Options{})
	steps, _ := walkAll(t, p, nil)
	cause := errors.New("exit code: 1")
	err := steps[0].Err(cause)
	if err.Line != 2 || err.EndLine != 3 || !errors.Is(err, cause) || err.Error() != "Dockerfile:2: exit code: 1" {
		t.Errorf("%+v", err)
	}
}

// TestFlags has each instruction take the flags of our table, so that none is suggested which is not there.
func TestFlags(t *testing.T) {
	for instruction, known := range flags {
		for _, flag := range known {
			_, err := Parse([]byte("FROM a\n"+instruction+" --"+flag+"=1 a b\n"), "Dockerfile")
			if err != nil && strings.Contains(err.Error(), "unknown flag") {
				t.Errorf("%s: %v", instruction, err)
			}
		}
	}
}
