package dockerfile

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/strata-build/strata/internal/builder/dialect"
	"github.com/strata-build/strata/internal/image"
)

// changes are the instructions that --change takes: those of docker import and docker commit.
var changes = []string{
	"CMD", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "ONBUILD", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
}

// ApplyChanges gives the config that the instructions of --change make of an empty one. Each line
// may hold several. Errors begin with "--change: ".
func ApplyChanges(lines []string) (image.Runtime, error) {
	source := "FROM scratch\n" + strings.Join(lines, "\n") + "\n"
	f, err := Parse([]byte(source), "--change")
	if err != nil {
		return image.Runtime{}, changeError(err)
	}
	plan, err := f.Plan(Options{Dialect: dialect.Classic()})
	if err != nil {
		return image.Runtime{}, changeError(err)
	}
	if len(plan.Stages) != 1 {
		return image.Runtime{}, notAChange("FROM")
	}
	w, err := plan.Target.Walk(image.Runtime{})
	if err != nil {
		return image.Runtime{}, changeError(err)
	}
	for {
		step, err := w.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return image.Runtime{}, changeError(err)
		}
		name, _, _ := strings.Cut(step.Text, " ")
		if name = strings.ToUpper(name); !slices.Contains(changes, name) {
			return image.Runtime{}, notAChange(name)
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
	if e := (*Error)(nil); errors.As(err, &e) {
		err = e.Err
	}
	return fmt.Errorf("--change: %w", err)
}
