package transfer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/store"
)

// changes are the instructions that --change takes: those of docker import and docker commit.
var changes = []string{
	"CMD", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "ONBUILD", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
}

// ImportOptions say what an imported file system becomes.
type ImportOptions struct {
	Name     reference.Named  // nil for none
	Changes  []string         // Dockerfile instructions that set the config; each may hold several lines
	Platform ocispec.Platform // that the image is for; the zero value is this machine's
	Message  string           // comment of the history row; "" is Docker's "Imported from -"
}

// Import makes an image of one layer of a root file system's tar, compressed or not, as docker import does.
func (m *Mover) Import(ctx context.Context, r io.Reader, o ImportOptions) (digest.Digest, error) {
	runtime, err := applyChanges(o.Changes)
	if err != nil {
		return "", err
	}
	b := bufio.NewReaderSize(r, 1<<16)
	if _, err := b.Peek(1); errors.Is(err, io.EOF) {
		return "", errors.New("it is empty; give a tar of a root file system")
	}
	l, err := m.Store.UnpackNew(ctx, "", b)
	if err != nil {
		return "", err
	}
	if o.Platform.OS == "" {
		o.Platform = m.Platform
	}
	c := image.Scratch(o.Platform)
	now := time.Now().UTC()
	row := image.History{Created: &now, Comment: o.Message}
	if row.Comment == "" {
		row.Comment = "Imported from -"
	}
	data, err := image.Encode(image.Add(c, runtime, row, l.DiffID))
	if err != nil {
		return "", err
	}
	id, err := m.Store.PutConfig(data, "", store.Image)
	if err != nil {
		return "", err
	}
	if o.Name != nil {
		_, err = m.Store.SetName(o.Name, id, "")
	}
	return id, err
}

// applyChanges gives the config that the instructions make of an empty one.
func applyChanges(lines []string) (dockerfile.Config, error) {
	source := "FROM scratch\n" + strings.Join(lines, "\n") + "\n"
	f, err := dockerfile.Parse([]byte(source), "--change")
	if err != nil {
		return dockerfile.Config{}, changeError(err)
	}
	plan, err := f.Plan(dockerfile.Options{Engine: dockerfile.Classic})
	if err != nil {
		return dockerfile.Config{}, changeError(err)
	}
	if len(plan.Stages) != 1 {
		return dockerfile.Config{}, notAChange("FROM")
	}
	w, err := plan.Target.Walk(dockerfile.Config{})
	if err != nil {
		return dockerfile.Config{}, changeError(err)
	}
	for {
		step, err := w.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return dockerfile.Config{}, changeError(err)
		}
		name, _, _ := strings.Cut(step.Text, " ")
		if name = strings.ToUpper(name); !slices.Contains(changes, name) {
			return dockerfile.Config{}, notAChange(name)
		}
	}
	c := w.Config()
	// A stage that starts from scratch gets a PATH; what Docker imports does not.
	if len(c.Env) > 0 && c.Env[0] == "PATH="+image.DefaultPath {
		c.Env = c.Env[1:]
	}
	return c, nil
}

func notAChange(name string) error {
	return fmt.Errorf("--change: %s is not an instruction that changes the config; it takes %s", name, strings.Join(changes, ", "))
}

// changeError leaves out the line, which is that of no file.
func changeError(err error) error {
	if e := (*dockerfile.Error)(nil); errors.As(err, &e) {
		err = e.Err
	}
	return fmt.Errorf("--change: %w", err)
}
