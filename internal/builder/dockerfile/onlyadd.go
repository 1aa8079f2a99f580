package dockerfile

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/strata-build/strata/internal/image"
)

// OnlyAdd is what the only ADD of a stage names that is there to have one, for its time: FROM
// scratch, ARGs, and an ADD of a URL or a repository. nil says that no stage has the name. It is
// for the graph engine.
func (p *Plan) OnlyAdd(name string) (*RemoteSource, error) {
	for _, s := range p.all {
		if s.Name != "" && strings.EqualFold(s.Name, name) {
			e, err := s.onlyAdd()
			if err != nil {
				return nil, p.file.errorIn(err, s.source.Location)
			}
			return e, nil
		}
	}
	return nil, nil
}

func (s *Stage) onlyAdd() (*RemoteSource, error) {
	bad := fmt.Errorf("the stage %s has to be FROM scratch and one ADD of a URL or a git repository, with no other instructions but ARG", s.Name)
	if !s.Base.Scratch {
		return nil, bad
	}
	for _, c := range s.source.Commands {
		switch c.(type) {
		case *instructions.ArgCommand, *instructions.AddCommand:
		default:
			return nil, bad
		}
	}
	w, err := s.Walk(image.Runtime{})
	if err != nil {
		return nil, err
	}
	var found *RemoteSource
	for {
		step, err := w.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if step.Copy == nil {
			continue
		}
		if found != nil || len(step.Copy.Remote) != 1 || len(step.Copy.Sources) != 1 {
			return nil, bad
		}
		found = step.Copy.Remote[0]
	}
	if found == nil {
		return nil, bad
	}
	return found, nil
}
