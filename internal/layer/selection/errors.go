package selection

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/strata-build/strata/internal/human/suggest"
	"github.com/strata-build/strata/internal/layer"
)

// NotFoundError says that a source of a COPY is not there, or that nothing matches its wildcards.
// errors.Is(err, fs.ErrNotExist) holds.
type NotFoundError struct {
	Instruction string // COPY or ADD
	Pattern     string // the source as written
	Path        string // what was looked for: the cleaned source, or what a symlink leads to; relative to the root
	// ExcludedBy is the rule that hides Path: ".dockerignore line 3 (*.pyc)"; "" if none does or nothing is there.
	ExcludedBy string
	Near       []string // up to three existing paths with similar names, best first
}

func (e *NotFoundError) Error() string {
	where := ""
	if e.Path != e.Pattern && "/"+e.Path != e.Pattern {
		where = fmt.Sprintf(" (/%s)", e.Path)
	}
	switch {
	case e.ExcludedBy != "":
		return fmt.Sprintf("%s failed: %s%s is in the build context but excluded by %s; add an exception or change the rule",
			e.Instruction, e.Pattern, where, e.ExcludedBy)
	case len(e.Near) > 0:
		return fmt.Sprintf("%s failed: %s%s: no such file or directory; did you mean %s?",
			e.Instruction, e.Pattern, where, strings.Join(e.Near, " or "))
	}
	return fmt.Sprintf("%s failed: %s%s: no such file or directory; sources are relative to the root of the build context or stage",
		e.Instruction, e.Pattern, where)
}

// Is makes errors.Is(err, fs.ErrNotExist) hold.
func (e *NotFoundError) Is(target error) bool { return target == fs.ErrNotExist }

// OutsideError says that a source of a COPY leads out of the build context, directly or by a symlink.
type OutsideError struct {
	Instruction string // COPY or ADD
	Source      string // as written
	Symlink     string // path of the symlink that leads out, "" if the source does so itself
	Link        string // target of that symlink
}

func (e *OutsideError) Error() string {
	failed := e.Instruction + " failed: forbidden path outside the build context: " + e.Source
	if e.Symlink == "" {
		return failed + "; copy it into the context or build with the directory above as context"
	}
	return fmt.Sprintf("%s: symlink /%s leads to %s; put the file itself into the context", failed, e.Symlink, e.Link)
}

// missingError is a path that Lookup did not find, on the way of a source.
type missingError struct {
	path string
	err  error
}

func (e *missingError) Error() string { return e.err.Error() }
func (e *missingError) Unwrap() error { return e.err }

// missingAt describes that path is missing, with rest still to come.
func missingAt(path, rest string, err error) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if rest = strings.Trim(rest, "/"); rest != "" {
		path += "/" + rest
	}
	return &missingError{path, err}
}

// explain turns a missing path into the error that tells the user what is wrong with the source.
func (s *selector) explain(ctx context.Context, err error, outside bool) error {
	var m *missingError
	if !errors.As(err, &m) {
		return err
	}
	if s.can.Outside && outside {
		return &OutsideError{Instruction: s.instruction, Source: s.pattern}
	}
	return s.notFound(ctx, m.path)
}

func (s *selector) notFound(ctx context.Context, path string) error {
	e := &NotFoundError{Instruction: s.instruction, Pattern: s.pattern, Path: path}
	if s.can.Excluded != nil {
		if e.ExcludedBy = s.can.Excluded(path); e.ExcludedBy != "" {
			return e
		}
	}
	e.Near = s.near(ctx, path)
	return e
}

// near returns paths beside the one that is missing, with names that are easily confused with its name.
func (s *selector) near(ctx context.Context, path string) []string {
	dir := layer.Parent(path)
	for dir != "" {
		if e, err := s.tree.Lookup(ctx, dir); err == nil && e.Type == layer.Dir {
			break
		}
		path, dir = dir, layer.Parent(dir)
	}
	entries, err := s.tree.ReadDir(ctx, dir)
	if err != nil {
		return nil
	}
	paths := map[string]string{}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = baseName(e.Path)
		paths[names[i]] = e.Path
	}
	near := suggest.All(baseName(path), names)
	near = near[:min(len(near), 3)]
	for i, name := range near {
		near[i] = paths[name]
	}
	return near
}

func baseName(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }
