package dockerfile

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	mode "github.com/tonistiigi/dchapes-mode"
)

// copyArgs is what COPY and ADD have in common.
type copyArgs struct {
	instructions.SourcesAndDest
	add                bool
	from, chown, chmod string
	link, parents      bool
	exclude            []string
	unpack, keepGitDir *bool
	checksum           string
}

func (in *instruction) copyFiles(args copyArgs) error {
	name := "COPY"
	if args.add {
		name = "ADD"
	}
	// BuildKit expands neither --exclude nor --parents. It ignores --link beside --chmod, since the mode would be that
	// of the directories on the way too (dispatchCopy in convert_copy.go).
	c := &Copy{
		Add: args.add, Parents: args.parents, Exclude: args.exclude,
		Link: args.link && args.chmod == "", Unpack: args.add,
	}
	if args.unpack != nil {
		c.Unpack, c.UnpackURL = *args.unpack, *args.unpack
	}
	var err error
	if c.Chown, err = in.expand(args.chown); err != nil {
		return err
	}
	if c.Chmod, err = in.expand(args.chmod); err != nil {
		return err
	}
	if err := checkChmod(name, c.Chmod); err != nil {
		return err
	}
	for _, source := range args.SourcePaths {
		expanded, err := in.expand(source)
		if err != nil {
			return err
		}
		c.Sources = append(c.Sources, expanded)
	}
	checksum, err := in.expand(args.checksum)
	if err != nil {
		return err
	}
	if c.Remote, err = in.remoteSources(args.add, c.Sources, checksum, args.keepGitDir); err != nil {
		return err
	}
	for i, source := range c.Sources {
		if args.from == "" && (c.Remote == nil || c.Remote[i] == nil) {
			in.lintIgnored(name, source)
		}
	}
	if c.Inline, err = in.inlineFiles(args.SourceContents); err != nil {
		return err
	}
	if c.DestText, err = in.expand(args.DestPath); err != nil {
		return err
	}
	c.Dest, c.DestDir = in.destination(c.DestText)
	if args.from != "" {
		from, err := in.stage.copySource(args.from)
		if err != nil {
			return err
		}
		c.From = from
	}
	in.step.Copy = c
	in.step.EmptyLayer = false
	in.vertex()
	in.copyHistory(name, c)
	return nil
}

func (in *instruction) copyHistory(name string, c *Copy) {
	if in.dialect.Steps.ShellRows {
		flags := ""
		if c.Chown != "" {
			flags = "--chown=" + c.Chown
		}
		in.step.row.text, in.step.row.copy = nop(in.shell(), "", name+" "+flags), true
		return
	}
	words := []string{name}
	if c.Parents {
		words = append(words, "--parents")
	}
	if c.Chown != "" {
		words = append(words, "--chown="+c.Chown)
	}
	if c.Chmod != "" {
		words = append(words, "--chmod="+c.Chmod)
	}
	words = append(words, c.Sources...)
	for _, file := range c.Inline {
		words = append(words, "<<"+file.Name)
	}
	in.step.row.text = strings.Join(append(words, c.DestText), " ") + " # buildkit"
}

// destination makes a path absolute and clean, and says whether it was written as a directory.
func (in *instruction) destination(dest string) (clean string, isDir bool) {
	isDir = dest == "" || dest == "." || strings.HasSuffix(dest, "/") || strings.HasSuffix(dest, "/.")
	if path.IsAbs(dest) {
		return path.Clean(dest), isDir
	}
	return path.Join("/", in.config.WorkingDir, dest), isDir
}

// inlineFiles are the here-documents among the sources. Variables are expanded in those whose name is not quoted; the
// escape character there is always the backslash, and quotes are no more than themselves (dispatch in convert.go).
func (in *instruction) inlineFiles(sources []instructions.SourceContent) ([]InlineFile, error) {
	var files []InlineFile
	for _, source := range sources {
		file := InlineFile{Name: source.Path, Data: source.Data}
		if strings.ContainsRune(file.Name, '/') {
			return nil, fmt.Errorf("the here-document <<%s: a name with a / cannot be that of a file", file.Name)
		}
		if source.Expand {
			lex := shell.NewLex('\\')
			lex.SkipProcessQuotes = true
			r, err := expander{lex: lex, env: in.scope.env}.word(source.Data)
			if err != nil {
				return nil, fmt.Errorf("the here-document <<%s: %w", file.Name, err)
			}
			in.lintUnset(r.unset)
			file.Data = r.text
		}
		files = append(files, file)
	}
	return files, nil
}

// checkChmod refuses what is no mode: octal as in chmod(1), or, with BuildKit, symbolic by FreeBSD's grammar.
func checkChmod(name, text string) error {
	if text == "" {
		return nil
	}
	n, err := strconv.ParseUint(text, 8, 32)
	switch {
	case err == nil && n <= 0o7777:
		return nil
	case err == nil || text[0] >= '0' && text[0] <= '9':
		return fmt.Errorf("%s --chmod=%s: the mode must be octal, from 0 to 7777", name, text)
	}
	if _, err := mode.Parse(text); err != nil {
		return fmt.Errorf("%s --chmod=%s: this is no mode; write it in octal, such as 755, or in symbols, such as u=rwX,go=rX", name, text)
	}
	return nil
}
