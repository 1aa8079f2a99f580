package dockerfile

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

// copyArgs is what COPY and ADD have in common.
type copyArgs struct {
	instructions.SourcesAndDest
	add                bool
	from, chown, chmod string
}

func (in *instruction) copyFiles(args copyArgs) error {
	name := "COPY"
	if args.add {
		name = "ADD"
	}
	c := &Copy{Add: args.add}
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
		if err := checkRemote(name, expanded); err != nil {
			return err
		}
		c.Sources = append(c.Sources, expanded)
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
		c.FromStage, c.FromImage, c.FromNamed, c.FromScratch = from.Stage, from.Image, from.Named, from.Scratch
	}
	if in.classic && len(c.Sources) > 1 && !strings.HasSuffix(c.DestText, "/") {
		return fmt.Errorf("%s of more than one source: the destination %s must be a directory and end with a /", name, c.DestText)
	}
	in.step.Copy = c
	in.step.EmptyLayer = false
	in.vertex()
	in.copyHistory(name, c)
	return nil
}

func (in *instruction) copyHistory(name string, c *Copy) {
	if in.classic {
		flags := ""
		if c.Chown != "" {
			flags = "--chown=" + c.Chown
		}
		if c.Chmod != "" { // Docker's classic builder refuses --chmod: the place is ours
			flags += "--chmod=" + c.Chmod
		}
		in.step.history, in.step.copyRow = nop(in.shell(), "", name+" "+flags), true
		return
	}
	words := []string{name}
	if c.Chown != "" {
		words = append(words, "--chown="+c.Chown)
	}
	if c.Chmod != "" {
		words = append(words, "--chmod="+c.Chmod)
	}
	words = append(words, c.Sources...)
	in.step.history = strings.Join(append(words, c.DestText), " ") + " # buildkit"
}

// destination makes a path absolute and clean, and says whether it was written as a directory.
func (in *instruction) destination(dest string) (clean string, isDir bool) {
	isDir = dest == "" || dest == "." || strings.HasSuffix(dest, "/") || strings.HasSuffix(dest, "/.")
	if path.IsAbs(dest) {
		return path.Clean(dest), isDir
	}
	return path.Join("/", in.config.WorkingDir, dest), isDir
}

func checkChmod(name, mode string) error {
	if mode == "" {
		return nil
	}
	n, err := strconv.ParseUint(mode, 8, 32)
	if err == nil && n <= 0o7777 {
		return nil
	}
	if err == nil || mode[0] >= '0' && mode[0] <= '9' {
		return fmt.Errorf("%s --chmod=%s: the mode must be octal, from 0 to 7777", name, mode)
	}
	return fmt.Errorf("%s --chmod=%s: a symbolic mode is not supported yet; write it in octal, such as 755", name, mode)
}
