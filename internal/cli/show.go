package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/look/anatomy"
	"github.com/strata-build/strata/internal/look/view"
)

func (a *app) show() *cobra.Command {
	var stat, asJSON bool
	cmd := &cobra.Command{
		Use:   "show [OPTIONS] IMAGE[:PATH]",
		Short: "Show what a step changed, or a file as it was after the step",
		Long: `Show one step: its instruction, the change of the configuration, and the files that its layer added (+), changed (~)
and removed (-), with modes, owners and sizes. The name of an image means its last step; strata log lists the others.

With a path, print the contents of the file after this step, or list the entries of a directory. The path is absolute,
or relative after an ID. On a terminal, control characters are replaced. For an image in a registry, only the layer of
the step is downloaded.

` + imageHelp,
		Args: args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, path, hasPath := splitPath(args[0])
			return a.look(cmd.Context(), name, func(im *anatomy.Image) error {
				if hasPath {
					return a.showContents(cmd.Context(), im, path)
				}
				s, err := view.NewShow(cmd.Context(), im)
				if err != nil {
					return err
				}
				return a.page(func(p *view.Printer) error {
					switch {
					case asJSON:
						return p.JSON(s)
					case stat:
						s.Stat(p)
					default:
						s.Print(p)
					}
					return nil
				})
			})
		},
	}
	fl := cmd.Flags()
	fl.BoolVar(&stat, "stat", false, "print one line for each file, and totals")
	fl.BoolVar(&asJSON, "json", false, "print JSON")
	cmd.MarkFlagsMutuallyExclusive("stat", "json")
	return cmd
}

// splitPath splits IMAGE:PATH. The path begins with a slash, which no tag does, or follows an ID.
func splitPath(text string) (name, path string, ok bool) {
	if i := strings.LastIndex(text, ":/"); i > 0 {
		switch text[:i] {
		case "docker", "docker-archive", "oci-archive", "oci":
		default:
			return text[:i], text[i+1:], true
		}
	}
	if id, rest, found := strings.Cut(text, ":"); found && len(id) >= 4 && strings.Trim(id, "0123456789abcdef") == "" {
		return id, rest, true
	}
	return text, "", false
}

func (a *app) showContents(ctx context.Context, im *anatomy.Image, path string) error {
	c, err := view.NewContents(ctx, im, path)
	if err != nil {
		return err
	}
	if c.Open == nil {
		return a.page(func(p *view.Printer) error {
			c.PrintList(p)
			return nil
		})
	}
	r, err := c.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	in := bufio.NewReaderSize(r, 64<<10)
	if human.IsTerminal(a.stdout.File) {
		if head, _ := in.Peek(8000); bytes.IndexByte(head, 0) >= 0 { // a null byte means binary, as in git
			return fmt.Errorf("%s is binary, %s; redirect standard output to a file", human.Quoted(c.Path), human.Size(c.Size))
		}
		err = copyPrintable(a.stdout, in)
	} else {
		_, err = io.Copy(a.stdout, in)
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", human.Quoted(c.Path), err)
	}
	return nil
}

// copyPrintable copies the text of a file to a terminal. Control characters are replaced; carriage
// returns at the ends of lines are left out.
func copyPrintable(to io.Writer, in *bufio.Reader) error {
	w := bufio.NewWriterSize(to, 64<<10)
	for {
		r, _, err := in.ReadRune()
		if err == io.EOF {
			return w.Flush()
		}
		if err != nil {
			return errors.Join(err, w.Flush())
		}
		if next, _ := in.Peek(1); r == '\r' && string(next) == "\n" {
			continue
		}
		if _, err := w.WriteRune(printableRune(r)); err != nil {
			return err
		}
	}
}
