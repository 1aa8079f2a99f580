package bake

import (
	"errors"
	"maps"
	"slices"

	"github.com/docker/buildx/bake/hclparser"
	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// What hclparser asks a block before it reads it: how many targets it stands for, and their names.
var (
	_ hclparser.WithEvalContexts = (*Target)(nil)
	_ hclparser.WithGetName      = (*Target)(nil)
	_ hclparser.WithGetName      = (*Group)(nil)
)

// dependencies resolves the variables of an expression before it is evaluated.
type dependencies = func(hcl.Expression) hcl.Diagnostics

// attribute is an attribute of a block by itself, nil where the block has none of this name.
func attribute(block *hcl.Block, name string) (hcl.Expression, error) {
	content, _, diags := block.Body.PartialContent(&hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: name}}})
	if diags.HasErrors() {
		return nil, diags
	}
	if a, ok := content.Attributes[name]; ok {
		return a.Expr, nil
	}
	return nil, nil
}

func evaluateIn(ectx *hcl.EvalContext, expr hcl.Expression, load dependencies) (cty.Value, error) {
	if diags := load(expr); diags.HasErrors() {
		return cty.NilVal, diags
	}
	value, diags := expr.Value(ectx)
	if diags.HasErrors() {
		return cty.NilVal, diags
	}
	return value, nil
}

// GetEvalContexts implements hclparser.WithEvalContexts: a context for each combination of the matrix, in which its
// variables have one of their values.
func (t *Target) GetEvalContexts(base *hcl.EvalContext, block *hcl.Block, load func(hcl.Expression) hcl.Diagnostics) ([]*hcl.EvalContext, error) {
	expr, err := attribute(block, "matrix")
	if err != nil || expr == nil {
		return []*hcl.EvalContext{base}, err
	}
	value, err := evaluateIn(base, expr, load)
	if err != nil {
		return nil, err
	}
	if value.IsNull() || !value.Type().IsMapType() && !value.Type().IsObjectType() {
		return nil, errors.New("matrix must be a map of lists, such as { version = [\"1\", \"2\"] }")
	}
	axes := value.AsValueMap()
	combinations := []map[string]cty.Value{{}}
	for _, name := range slices.Sorted(maps.Keys(axes)) {
		if axes[name].IsNull() || !axes[name].CanIterateElements() {
			return nil, errors.New("the values of matrix must be lists: " + name + " is none")
		}
		var next []map[string]cty.Value
		for _, v := range axes[name].AsValueSlice() {
			for _, c := range combinations {
				more := maps.Clone(c)
				more[name] = v
				next = append(next, more)
			}
		}
		combinations = next
	}
	contexts := make([]*hcl.EvalContext, len(combinations))
	for i, c := range combinations {
		contexts[i] = base.NewChild()
		contexts[i].Variables = c
	}
	return contexts, nil
}

// GetName implements hclparser.WithGetName: the attribute name for one combination of the matrix, else the block's
// label.
func (t *Target) GetName(ectx *hcl.EvalContext, block *hcl.Block, load func(hcl.Expression) hcl.Diagnostics) (string, error) {
	expr, err := attribute(block, "name")
	if err != nil {
		return "", err
	}
	if expr == nil {
		return block.Labels[0], nil
	}
	if matrix, err := attribute(block, "matrix"); err != nil || matrix == nil {
		return "", errors.Join(err, errors.New("name is only for targets with a matrix; the block's label is the name of others"))
	}
	value, err := evaluateIn(ectx, expr, load)
	if err != nil {
		return "", err
	}
	text, err := convert.Convert(value, cty.String)
	if err != nil {
		return "", err
	}
	if text.IsNull() || !text.IsKnown() {
		return "", errors.New("name has no value")
	}
	return text.AsString(), nil
}

// GetName implements hclparser.WithGetName: the block's label.
func (g *Group) GetName(_ *hcl.EvalContext, block *hcl.Block, _ func(hcl.Expression) hcl.Diagnostics) (string, error) {
	for _, name := range []string{"name", "matrix"} {
		expr, err := attribute(block, name)
		if err != nil {
			return "", err
		}
		if expr != nil {
			return "", errors.New(name + " is not for groups")
		}
	}
	return block.Labels[0], nil
}
