package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"

	"github.com/distribution/reference"
	"github.com/spf13/cobra"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/transfer"
	"github.com/strata-build/strata/internal/transfer/registry"
)

func (a *app) importTar() *cobra.Command {
	var o transfer.ImportOptions
	var wanted string
	var changes []string
	cmd := &cobra.Command{
		Use:   "import [OPTIONS] FILE|URL|- [NAME[:TAG]]",
		Short: "Make an image with one layer from the tar of a root file system",
		Args:  args(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if o.Platform, err = parsePlatform(wanted); err != nil {
				return err
			}
			if len(args) == 2 {
				name, err := newName(args[1])
				if err != nil {
					return err
				}
				o.Name = name
			}
			return a.runImport(cmd.Context(), args[0], changes, o)
		},
	}
	fl := cmd.Flags()
	fl.VarP((*listFlag)(&changes), "change", "c", "Dockerfile `INSTRUCTION` that sets the image's config, such as 'CMD [\"sh\"]'; may be given several times")
	fl.StringVarP(&o.Message, "message", "m", "", "`TEXT` of the comment in the image's history row")
	platformFlag(fl, &wanted)
	return cmd
}

func (a *app) runImport(ctx context.Context, file string, changes []string, o transfer.ImportOptions) error {
	open := a.input
	if strings.HasPrefix(file, "http://") || strings.HasPrefix(file, "https://") {
		open = download
	}
	r, err := open(ctx, file)
	if err != nil {
		return err
	}
	defer r.Close()
	m, err := a.mover()
	if err != nil {
		return err
	}
	if o.Config, err = dockerfile.ApplyChanges(changes); err != nil {
		return fmt.Errorf("importing %s: %w", file, err)
	}
	id, err := m.Import(ctx, r, o)
	if errors.Is(err, syscall.EISDIR) {
		return fmt.Errorf("importing %s: it is a directory; give its files as a tar: tar c -C %[1]s . | strata import - NAME", file)
	}
	if err != nil {
		return fmt.Errorf("importing %s: %w", file, err)
	}
	fmt.Fprintln(a.stdout, id)
	return nil
}

// download opens what an address gives.
func download(ctx context.Context, url string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, usageError("import: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("downloading: %w; see whether the address is right and this machine reaches the server, if need be through HTTPS_PROXY", err)
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("downloading %s: the server says %s; see whether the address is right", url, resp.Status)
	}
	return resp.Body, nil
}

// newName parses the name for an image that is made.
func newName(text string) (reference.Named, error) {
	ref, err := registry.ParseNewName(text)
	if err != nil {
		return nil, &exit{exitUsage, err}
	}
	return ref, nil
}

// input opens a file, or standard input for "-", which must not be a terminal.
func (a *app) input(ctx context.Context, file string) (io.ReadCloser, error) {
	if file != "-" {
		return os.Open(file)
	}
	if human.IsTerminal(a.stdin) {
		return nil, usageError("standard input is a terminal; give a file, or pipe one in")
	}
	return interruptible(ctx, a.stdin), nil
}

// interruptible returns a reader of r that ends when ctx is done, even if reading from a pipe
// blocks. Data that is still being read from r then is dropped.
func interruptible(ctx context.Context, r io.Reader) io.ReadCloser {
	out, in := io.Pipe()
	stop := context.AfterFunc(ctx, func() { in.CloseWithError(context.Cause(ctx)) })
	go func() {
		_, err := io.CopyBuffer(struct{ io.Writer }{in}, struct{ io.Reader }{r}, make([]byte, 1<<20))
		in.CloseWithError(err)
		stop()
	}()
	return out
}
