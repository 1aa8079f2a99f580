package cli

import (
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/strata-build/strata/internal/cache/local"
	"github.com/strata-build/strata/internal/look/history"
	"github.com/strata-build/strata/internal/look/page"
)

type webPageFlags struct {
	output string
	noOpen bool
	change bool
}

func (a *app) webPage() *cobra.Command {
	f := &webPageFlags{}
	cmd := &cobra.Command{
		Use:   "page [OPTIONS] [IMAGE]",
		Short: "Show an image's layers and files, and builds, in a browser",
		Long: `Serve pages on a free port of this machine, print their address and open it in a browser, until Ctrl-C: the layers of
an image with the command, the files and the configuration of each, all images of the store, and builds. The address
holds a token, without which nothing is answered. Without an image, the pages begin with the list of images.

With -o, write all of an image to one file instead, which a browser opens without strata, for instance from a pipeline.
Contents of files are not in it.

` + imageHelp,
		Args: args(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			text := strings.Join(args, "")
			if cmd.Flags().Changed("output") {
				if f.change {
					return usageError("page -o writes a file, which changes nothing; leave out --allow-changes")
				}
				return a.writePage(cmd.Context(), text, f.output)
			}
			return a.servePage(cmd.Context(), text, f)
		},
	}
	fl := cmd.Flags()
	fl.StringVarP(&f.output, "output", "o", "", "write one self-contained file to `FILE`, or to index.html of a directory; - is standard output")
	fl.BoolVar(&f.change, "allow-changes", false, "let the pages remove and name images, remove unused cache and forget builds, each after a question")
	fl.BoolVar(&f.noOpen, "no-open", false, "do not open a browser")
	return cmd
}

func (a *app) pageOptions(text string) (page.Options, error) {
	m, err := a.mover()
	if err != nil {
		return page.Options{}, err
	}
	made := func(r *history.Row) (*page.Made, error) {
		if r.DiffID == "" || r.History.Created == nil {
			return nil, nil
		}
		record, err := local.Made(m.Store, r.DiffID, *r.History.Created)
		if err != nil || record == nil {
			return nil, err
		}
		m := &page.Made{Written: record.Written, Took: record.Took, At: record.Created, Origin: record.Origin}
		if m.Written == "" {
			m.Written = record.Instruction
		}
		if record.Fetches != "" {
			m.Fetches = record.Source()
		}
		return m, nil
	}
	return page.Options{Mover: m, Image: text, Made: made, Version: a.version}, nil
}

func (a *app) writePage(ctx context.Context, text, output string) error {
	if text == "" {
		return usageError("page -o needs an image; strata images lists them")
	}
	o, err := a.pageOptions(text)
	if err != nil {
		return err
	}
	if st, err := os.Stat(output); err == nil && st.IsDir() || strings.HasSuffix(output, "/") {
		if err := os.MkdirAll(output, 0o755); err != nil {
			return fmt.Errorf("making the directory for the page: %w", err)
		}
		output = filepath.Join(output, "index.html")
	}
	return a.writeTo(ctx, output, func(w io.Writer) error { return page.Export(ctx, o, w) })
}

func (a *app) servePage(ctx context.Context, text string, f *webPageFlags) error {
	o, err := a.pageOptions(text)
	if err != nil {
		return err
	}
	o.Changes = f.change
	s, err := page.Listen(ctx, o)
	if err != nil {
		return err
	}
	fmt.Fprintln(a.stdout, s.Address())
	fmt.Fprintln(a.stderr, "Ctrl-C ends it.")
	if !f.noOpen {
		if err := a.browse(s.Address()); err != nil {
			fmt.Fprintln(a.stderr, "strata:", printable(err.Error()))
		}
	}
	return s.Serve(ctx)
}

// browse opens an address in the browser that $BROWSER names, or in the desktop's; without either it does nothing.
// The browser gets a file that leads there: the arguments of a process are everybody's to read, and the address
// holds the token.
func (a *app) browse(address string) error {
	command := browser()
	if command == "" {
		return nil
	}
	dir, err := a.store.Scratch("page")
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "strata.html")
	text := fmt.Sprintf("<!doctype html><meta charset=utf-8><title>strata</title><meta http-equiv=refresh content=\"0; url=%[1]s\"><a href=\"%[1]s\">strata</a>\n", html.EscapeString(address))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return fmt.Errorf("opening a browser: %w; open the address above", err)
	}
	cmd := exec.Command(command, "file://"+file)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("opening a browser with %s: %w; open the address above", command, err)
	}
	go cmd.Wait() // so that it leaves no zombie; what it says is its own affair
	return nil
}

// browser is the program that shows a page, "" where there is none. $BROWSER lists some, with colons between them,
// as Debian's sensible-browser reads it.
func browser() string {
	for _, name := range strings.Split(os.Getenv("BROWSER"), ":") {
		if name, _, _ = strings.Cut(strings.TrimSpace(name), " "); name == "" {
			continue
		}
		if path, err := exec.LookPath(name); err == nil || errors.Is(err, exec.ErrDot) {
			return path
		}
	}
	if os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "" {
		return ""
	}
	path, err := exec.LookPath("xdg-open")
	if err != nil {
		return ""
	}
	return path
}
