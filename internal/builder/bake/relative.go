package bake

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/docker/buildx/bake/hclparser"
	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// relativeVariable asks for paths of contexts to be relative to the file that has them, instead of to the working
// directory.
const relativeVariable = "BUILDX_BAKE_FILE_RELATIVE_PATHS"

func relativeToFiles() (bool, error) {
	text := os.Getenv(relativeVariable)
	if text == "" {
		return false, nil
	}
	on, err := strconv.ParseBool(text)
	if err != nil {
		return false, fmt.Errorf("%s=%s: it is true or false", relativeVariable, text)
	}
	return on, nil
}

// homes are the directories of the files that a target's paths were written in; "" where that is no file of this
// machine.
type homes struct {
	block    *string           // of the block that was read last: of a context that is not written; nil without any
	context  *string           // of context
	from     string            // the target whose context this one took over: context = target.NAME.context
	contexts map[string]string // of contexts, by their names
}

var _ hclparser.WithBlockSource = (*Target)(nil)

// SetBlockSource implements hclparser.WithBlockSource: it notes which file has the block's paths.
func (t *Target) SetBlockSource(block *hcl.Block) {
	dir := homeOf(block.DefRange.Filename)
	t.homes.block = &dir
	if expr, err := attribute(block, "context"); err == nil && expr != nil {
		t.homes.context, t.homes.from = &dir, contextOf(expr)
	}
	if expr, err := attribute(block, "contexts"); err == nil && expr != nil {
		t.setContextsHome(dir)
	}
}

func (t *Target) setContextsHome(dir string) {
	for name := range t.Contexts {
		put(&t.homes.contexts, name, dir)
	}
}

// homeOf is the directory of a definition.
func homeOf(file string) string {
	if file == "" || file == "-" || isRemote(file) {
		return ""
	}
	return filepath.Dir(file)
}

// contextOf is the NAME of an expression target.NAME.context, "" of any other.
func contextOf(expr hcl.Expression) string {
	steps, diags := hcl.AbsTraversalForExpr(expr)
	if diags.HasErrors() || len(steps) != 3 || steps.RootName() != "target" {
		return ""
	}
	if last, ok := steps[2].(hcl.TraverseAttr); !ok || last.Name != "context" {
		return ""
	}
	switch s := steps[1].(type) {
	case hcl.TraverseAttr:
		return s.Name
	case hcl.TraverseIndex:
		if key, err := convert.Convert(s.Key, cty.String); err == nil && !key.IsNull() && key.IsKnown() {
			return key.AsString()
		}
	}
	return ""
}

// merge is Target.Merge for where paths were written.
func (h *homes) merge(over *Target) {
	replace(&h.block, over.homes.block)
	if over.Context != nil {
		h.context, h.from = over.homes.context, over.homes.from
	}
	for name := range over.Contexts {
		delete(h.contexts, name)
		if dir, ok := over.homes.contexts[name]; ok {
			put(&h.contexts, name, dir)
		}
	}
}

// setComposeHome notes where the paths of Compose files were written: all of them are relative to the first file.
func (c *Config) setComposeHome(files []File) {
	dir := homeOf(files[0].Name)
	for _, t := range c.Targets {
		t.homes.block = &dir
		if t.Context != nil {
			t.homes.context = &dir
		}
		t.setContextsHome(dir)
	}
}

// makeRelative writes paths of contexts, which are relative to the files that have them, as paths relative to the
// working directory.
func (c *Config) makeRelative() {
	for _, t := range c.Targets {
		home := t.homes.context
		if from := find(c.Targets, t.homes.from); from != nil {
			if home = from.homes.context; home == nil {
				home = from.homes.block
			}
		}
		switch {
		case t.Context != nil && home != nil:
			t.Context = ptr(rebase(*home, *t.Context))
		case t.Context == nil && t.homes.block != nil:
			t.defaultContext = rebase(*t.homes.block, ".")
		}
		for name, dir := range t.homes.contexts {
			t.Contexts[name] = rebase(dir, t.Contexts[name])
		}
	}
}

func rebase(dir, text string) string {
	if dir == "" || text == "" || filepath.IsAbs(text) || special(text) || isRemote(text) || Path(text) != text {
		return text
	}
	return filepath.Join(dir, text)
}
