package dockerfile

import (
	"slices"
	"strconv"
	"strings"
)

// The arguments that say of what a bill of materials is to be made beside the result (BuildKit, docs/attestations/sbom.md): of
// stages that the result is built from, and of the context. They are no variables of steps.
const (
	ScanStage   = "BUILDKIT_SBOM_SCAN_STAGE"
	ScanContext = "BUILDKIT_SBOM_SCAN_CONTEXT"
)

// Scans says whether an argument, ScanStage or ScanContext, is on for the stage, which was walked: true, or a list with the
// stage's name. What an ARG of the stage, or of one that it starts from, says counts before what one before the first
// FROM does. A value of the build replaces that of an ARG, and without an ARG says nothing.
func (s *Stage) Scans(argument string) bool {
	value, _ := s.plan.Argument(argument)
	s.mu.Lock()
	end := s.end
	s.mu.Unlock()
	if end != nil {
		if i, ok := end.argAt[argument]; ok {
			value = end.args[i].value
		}
	}
	if on, err := strconv.ParseBool(value); err == nil {
		return on
	}
	return slices.Contains(strings.Split(value, ","), s.StageName())
}

// StageName is BuildKit's name for the stage: its own, or stage-1 where the file gives it none.
func (s *Stage) StageName() string {
	if s.Name != "" {
		return s.Name
	}
	return "stage-" + strconv.Itoa(s.Index)
}
