package history

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/strata-build/strata/internal/image"
)

// longRun is how long a RUN may be before it is broken at its &&.
const longRun = 72

// Dockerfile gives the instructions of rows back as a Dockerfile to read: the base image's first, under a comment
// with its name. What no instruction can say, such as how a layer was imported, is a comment. COPY and ADD name
// what they copied as far as the rows tell: the classic engine kept only a checksum.
func Dockerfile(rows []Row) string {
	if len(rows) == 0 {
		return ""
	}
	w := &dockerfileWriter{shell: "/bin/sh -c"}
	if final, err := image.Parse(rows[len(rows)-1].Config); err == nil {
		w.replay = newReplay(final)
	} else {
		w.replay = newReplay(&image.Config{})
	}
	w.line("FROM scratch")
	for i, row := range rows {
		if i == 0 {
			w.heading(rows)
		}
		w.row(&row)
		if len(row.Names) > 0 && i < len(rows)-1 {
			w.heading(rows[i+1:])
		}
	}
	return w.String()
}

type dockerfileWriter struct {
	strings.Builder
	replay *replay
	shell  string // of this place
	flags  string // of the RUN that is written: "--network=none "
}

func (w *dockerfileWriter) line(text string) {
	w.WriteString(oneLine(text))
	w.WriteByte('\n')
}

// heading says which image the next rows lead to.
func (w *dockerfileWriter) heading(rows []Row) {
	for _, row := range rows {
		if len(row.Names) > 0 {
			w.line("\n# " + strings.Join(row.Names, ", "))
			return
		}
	}
	w.line("\n# image " + image.ShortID(rows[len(rows)-1].ID))
}

// oneLine keeps a text that came from elsewhere on its line, but for a line's end at its beginning.
func oneLine(text string) string {
	rest, lead := strings.CutPrefix(text, "\n")
	rest = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, rest)
	if lead {
		return "\n" + rest
	}
	return rest
}

func (w *dockerfileWriter) row(row *Row) {
	in := parseCreatedBy(row.History.CreatedBy)
	if strings.Contains(row.Written, "\n") {
		w.written(row.Written)
		return
	}
	w.flags = runFlags(row.Written)
	switch in.name {
	case "":
		w.unknown(row, in.args)
	case "RUN":
		w.run(in)
	case "ENV", "LABEL":
		final := w.replay.env
		if in.name == "LABEL" {
			final = w.replay.labels
		}
		w.pairs(in.name, assignments(in.args, final))
	case "CMD", "ENTRYPOINT":
		w.command(in)
	case "SHELL":
		if list, ok := words(in.args); ok && len(list) > 0 {
			w.shell = strings.Join(list, " ")
			w.line("SHELL " + jsonList(list))
		}
	case "VOLUME":
		if list := paths(in.args); len(list) > 0 {
			w.line("VOLUME " + jsonList(list))
		}
	case "EXPOSE":
		if list := exposed(in.args); len(list) > 0 {
			w.line("EXPOSE " + strings.Join(list, " "))
		}
	case "HEALTHCHECK":
		w.healthcheck(in.args)
	case "COPY", "ADD":
		w.copy(in)
	default:
		if in.args == "" {
			w.line("# " + in.name)
			return
		}
		w.line(in.name + " " + escape(in.args))
	}
}

// unknown is a row of another tool, or an import.
func (w *dockerfileWriter) unknown(row *Row, text string) {
	for _, t := range []string{text, row.History.Comment} {
		if t != "" && t != image.BuildKitComment {
			w.line("# " + t)
			return
		}
	}
	if row.DiffID != "" {
		w.line("# layer " + image.ShortID(row.DiffID))
	}
}

// run writes a RUN: in shell form if its shell is that of the place, else with the words that the row has.
func (w *dockerfileWriter) run(in instruction) {
	text := strings.TrimSpace(in.args)
	switch {
	case text == "":
		return
	case strings.HasPrefix(text, "/dev/pipes/"):
		w.line("# the script of a here-document, which no row has: RUN " + text)
		return
	case in.shell == "":
		w.line("RUN " + w.flags + jsonList(strings.Fields(text)))
		return
	case in.shell != w.shell && in.shell != "/bin/sh -c":
		w.shell = in.shell
		w.line("SHELL " + jsonList(strings.Fields(in.shell)))
	case in.shell != w.shell:
		w.line("RUN " + w.flags + jsonList([]string{"/bin/sh", "-c", text}))
		return
	}
	if strings.ContainsAny(text, "\n\r") || strings.HasSuffix(text, `\`) || strings.HasPrefix(text, "[") ||
		strings.HasPrefix(text, "-") || heredoc().MatchString(text) {
		w.line("RUN " + w.flags + jsonList(append(strings.Fields(w.shell), text)))
		return
	}
	w.WriteString("RUN " + w.flags)
	for i, part := range breakLong(text) {
		if i > 0 {
			w.WriteString(" \\\n")
		}
		w.WriteString(strings.Map(func(r rune) rune {
			if r < ' ' && r != '\t' || r == 0x7f {
				return ' '
			}
			return r
		}, part))
	}
	w.WriteByte('\n')
}

// heredoc matches what would begin one.
var heredoc = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(^|\s)\d*<<-?\s*["']?[A-Za-z_]`) })

// breakLong breaks a long command before each && outside quotes, and wherever a blank and a tab tell of a line that
// the Dockerfile had: the parser takes away the line's end and leaves its indentation.
func breakLong(text string) []string {
	if len(text) <= longRun && !strings.Contains(text, " \t") {
		return []string{text}
	}
	var parts []string
	start := 0
	quote := byte(0)
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '\\' && quote != '\'':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case c == ' ' && strings.HasPrefix(text[i:], " && ") && i > start:
			parts = append(parts, text[start:i])
			start = i + 1
		case c == ' ' && strings.HasPrefix(text[i:], " \t") && i > start && !commentAhead(text[i:]):
			parts = append(parts, text[start:i])
			start = i + 1
		}
	}
	parts = append(parts, text[start:])
	for i := 1; i < len(parts); i++ {
		if strings.HasPrefix(parts[i], "&& ") {
			parts[i] = "    " + parts[i]
		}
	}
	return parts
}

// commentAhead says whether the next word would make its line a comment.
func commentAhead(text string) bool { return strings.HasPrefix(strings.TrimLeft(text, " \t"), "#") }

func (w *dockerfileWriter) pairs(name string, pairs []pair) {
	if len(pairs) == 0 {
		return
	}
	text := name
	for _, p := range pairs {
		text += " " + quoteKey(p.key) + "=" + quote(p.value)
	}
	w.line(text)
}

func quoteKey(key string) string {
	if plain(key) && key != "" {
		return key
	}
	return quote(key)
}

// quote writes a value so that it is taken as it stands.
func quote(s string) string {
	if s != "" && plain(s) {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`).Replace(s) + `"`
}

func plain(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || strings.ContainsRune("\\\"'$`=#<>", r) || r == 0x7f
	})
}

// escape keeps variables, which the row has expanded already, from being expanded again.
func escape(s string) string { return strings.NewReplacer(`\`, `\\`, `$`, `\$`).Replace(s) }

func jsonList(list []string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(list); err != nil {
		panic(err) // strings only
	}
	return strings.ReplaceAll(strings.TrimSpace(b.String()), `","`, `", "`)
}

func (w *dockerfileWriter) command(in instruction) {
	list, ok := words(in.args)
	switch {
	case !ok:
		w.line(in.name + " " + in.args)
	case isShellForm(list, w.shell):
		w.line(in.name + " " + list[len(list)-1])
	default:
		if list == nil {
			list = []string{}
		}
		w.line(in.name + " " + jsonList(list))
	}
}

// isShellForm says whether argv came of a shell form that can be written as one.
func isShellForm(argv []string, shell string) bool {
	if len(argv) < 2 {
		return false
	}
	last := argv[len(argv)-1]
	return strings.Join(argv[:len(argv)-1], " ") == shell && strings.TrimSpace(last) != "" && !strings.HasPrefix(last, "[") && !strings.ContainsAny(last, "\n\r\\")
}

// exposed lists ports without the "/tcp" that goes without saying.
func exposed(args string) []string {
	list := ports(args)
	for i, p := range list {
		list[i] = strings.TrimSuffix(p, "/tcp")
	}
	return list
}

// healthcheck writes a HEALTHCHECK. The times are in the row in forms that differ from builder to builder: the one
// that the image ended up with is written from its config, with the others they are a comment.
func (w *dockerfileWriter) healthcheck(args string) {
	_, rest, _ := strings.Cut(args, "[")
	list, tail, ok := strings.Cut(rest, "]")
	test, _ := words("[" + list + "]")
	if !ok || len(test) == 0 {
		w.line("# HEALTHCHECK " + args)
		return
	}
	text := "HEALTHCHECK "
	if h := w.replay.final.Config.Healthcheck; h != nil && strings.Join(h.Test, " ") == strings.Join(test, " ") {
		test = h.Test
		for _, f := range []struct {
			name  string
			value time.Duration
		}{{"interval", h.Interval}, {"timeout", h.Timeout}, {"start-period", h.StartPeriod}, {"start-interval", h.StartInterval}} {
			if f.value != 0 {
				text += "--" + f.name + "=" + f.value.String() + " "
			}
		}
		if h.Retries != 0 {
			text += fmt.Sprintf("--retries=%d ", h.Retries)
		}
	} else if tail = strings.Trim(tail, " }"); tail != "" {
		w.line("# HEALTHCHECK with " + tail)
	}
	switch {
	case test[0] == "NONE":
		w.line("HEALTHCHECK NONE")
	case test[0] == "CMD-SHELL" && len(test) > 1:
		w.line(text + "CMD " + strings.Join(test[1:], " "))
	case test[0] == "CMD" && len(test) > 1:
		w.line(text + "CMD " + jsonList(test[1:]))
	default:
		w.line("# HEALTHCHECK " + args)
	}
}

// checksum matches what the classic engine says that it copied.
var checksum = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(file|dir|multi):([0-9a-f]+)$`) })

// copy writes a COPY or ADD. The classic engine's "COPY file:<checksum> in /dest " becomes one of a file of that name.
func (w *dockerfileWriter) copy(in instruction) {
	args := in.args
	if before, dest, ok := strings.Cut(args, " in "); ok && !strings.Contains(dest, " ") {
		// There is no blank between a flag and the checksum (performCopy in Docker's builder/dockerfile).
		if at := checksum().FindStringSubmatchIndex(before); at != nil {
			flags, kind, sum := before[:at[0]], before[at[2]:at[3]], before[at[4]:at[5]]
			args = strings.TrimSpace(fmt.Sprintf("%s %s:%s %s", flags, kind, sum[:min(12, len(sum))], dest))
		}
	}
	// Of a here-document the row has the name only: it becomes a file of that name.
	args = strings.TrimPrefix(strings.ReplaceAll(" "+args, " <<", " "), " ")
	if len(strings.Fields(args)) < 2 {
		w.line("# " + in.name + " " + args)
		return
	}
	w.line(in.name + " " + escape(args))
}
