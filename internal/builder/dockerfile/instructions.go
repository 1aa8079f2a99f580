package dockerfile

import "fmt"

// Instructions are the texts of the stage's instructions, each as Step.Text has it, without FROM. The instruction of a
// step that is no trigger is the one at the index Step.Index.
func (s *Stage) Instructions() []string {
	texts := make([]string, len(s.source.Commands))
	for i, c := range s.source.Commands {
		if text, ok := c.(fmt.Stringer); ok {
			texts[i] = text.String()
		}
	}
	return texts
}

// Index is the step's place among the instructions of its stage, -1 for a trigger of the base image and for the files of a
// named context. A classic --label
// comes after the last.
func (s *Step) Index() int {
	if s.OnBuild || s.Position == 0 {
		return -1
	}
	return s.Position - s.Stage.Position - 1
}
