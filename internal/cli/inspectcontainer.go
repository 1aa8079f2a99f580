package cli

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/strata-build/strata/internal/look/inventory"
	"github.com/strata-build/strata/internal/sandbox/runner"
	"github.com/strata-build/strata/internal/store"
)

// containerDetails is what inspect shows of a container: those of docker's fields that mean something of one that
// never runs.
type containerDetails struct {
	Id           string //nolint:revive,staticcheck // templates name the fields as the JSON does
	Created      string
	Path         string
	Args         []string
	State        containerState
	Image        string
	Name         string // with a slash before it, as docker has it
	RestartCount int
	Driver       string
	Platform     string
	HostConfig   struct{ NetworkMode string }
	Mounts       []any
	Config       *inventory.Runtime // of the image, with the container's command; Image is how the person named it

	created time.Time
}

// ID is Id under the name that templates have for it, too.
func (d *containerDetails) ID() string { return d.Id }

// containerState is docker's State of a container that was never started.
type containerState struct {
	Status                                 string
	Running, Paused, Restarting, OOMKilled bool
	Dead                                   bool
	Pid, ExitCode                          int
	Error, StartedAt, FinishedAt           string
}

// never is the time at which a container was started that never was, as docker writes it.
const never = "0001-01-01T00:00:00Z"

func (a *app) describeContainer(c *store.Container) (*containerDetails, error) {
	img, err := inventory.Load(a.store, c.Image)
	if err != nil {
		return nil, fmt.Errorf("the image of container %s: %w", c.Name, err)
	}
	i, err := inventory.Inspect(img)
	if err != nil {
		return nil, err
	}
	d := &containerDetails{
		Id: c.ID, Created: c.Created.UTC().Format(time.RFC3339Nano), State: containerState{Status: "created", StartedAt: never, FinishedAt: never},
		Image: i.Id, Name: "/" + c.Name, Driver: i.GraphDriver.Name, Platform: i.Os, Mounts: []any{}, Config: i.Config, created: c.Created,
	}
	d.HostConfig.NetworkMode = string(runner.DefaultNetwork)
	if len(c.Command) > 0 {
		d.Config.Cmd = c.Command
	}
	d.Config.Image = c.Text
	if command := slices.Concat(d.Config.Entrypoint, d.Config.Cmd); len(command) > 0 {
		d.Path, d.Args = command[0], command[1:]
	}
	return d, nil
}

func (a *app) inspectContainers() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "inspect [OPTIONS] CONTAINER...",
		Short: "Show details of containers, as JSON",
		Args:  args(1, -1),
		RunE: func(_ *cobra.Command, names []string) error {
			return a.runInspect(names, &inspectFlags{format: format, kind: "container"})
		},
	}
	cmd.Flags().StringVarP(&format, "format", "f", "", "`TEMPLATE` in Go's language, such as '{{.State.Status}}'")
	cmd.Flags().BoolP("size", "s", false, "ignored: a container changes no files")
	return cmd
}

// inspectOther describes the container or the volume of a name. Its error is a store.ErrNotFound if there is none.
func (a *app) inspectOther(name, kind string) (any, error) {
	s, err := a.open()
	if err != nil {
		return nil, err
	}
	if kind == "volume" {
		found, err := volumesOf(s, []string{name})
		if err != nil {
			return nil, err
		}
		return detailsOf(found[0]), nil
	}
	c, err := s.FindContainer(name)
	if errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("no %w; strata ps -a lists the containers", err)
	}
	if err != nil {
		return nil, err
	}
	return a.describeContainer(c)
}
