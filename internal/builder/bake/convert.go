package bake

import (
	"fmt"
	"sync"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/gocty"
)

// What follows are hclparser's FromCtyValueConverter and ToCtyValueConverter: how values of a file become entries,
// which may be texts or objects there, and what an expression such as target.app.output gets.

// FromCtyValue implements hclparser.FromCtyValueConverter.
func (c *Caches) FromCtyValue(in cty.Value, _ cty.Path) error {
	return fromList(in, c, parseCache, func(attrs map[string]string) (Caches, error) {
		return Caches{attrs}, typed(attrs, "type=registry,ref=NAME")
	})
}

// ToCtyValue implements hclparser.ToCtyValueConverter.
func (c Caches) ToCtyValue() cty.Value { return entriesValue(c) }

// FromCtyValue implements hclparser.FromCtyValueConverter.
func (o *Outputs) FromCtyValue(in cty.Value, _ cty.Path) error {
	return fromList(in, o, parseOutput, func(attrs map[string]string) (Outputs, error) {
		if attrs["dest"] == "" {
			delete(attrs, "dest")
		}
		return Outputs{attrs}, typed(attrs, "type=docker")
	})
}

// ToCtyValue implements hclparser.ToCtyValueConverter.
func (o Outputs) ToCtyValue() cty.Value { return entriesValue(o) }

// FromCtyValue implements hclparser.FromCtyValueConverter.
func (a *Attests) FromCtyValue(in cty.Value, _ cty.Path) error {
	return fromList(in, a, parseAttest, func(attrs map[string]string) (Attests, error) {
		return Attests{attrs}, checkAttest(attrs)
	})
}

// ToCtyValue implements hclparser.ToCtyValueConverter.
func (a Attests) ToCtyValue() cty.Value { return entriesValue(a) }

// FromCtyValue implements hclparser.FromCtyValueConverter.
func (p *Policies) FromCtyValue(in cty.Value, _ cty.Path) error {
	return fromList(in, p, parsePolicy, func(attrs map[string]string) (Policies, error) { return Policies{attrs}, nil })
}

// ToCtyValue implements hclparser.ToCtyValueConverter.
func (p Policies) ToCtyValue() cty.Value { return entriesValue(p) }

// fromList reads a list whose elements are texts or objects of texts. Empty texts and what is not known are left out.
func fromList[L ~[]E, E any](in cty.Value, to *L, text func(string) (L, error), object func(map[string]string) (L, error)) error {
	all := L{}
	err := eachElement(in, func(v cty.Value) error {
		var some L
		var err error
		if v.Type() == cty.String {
			some, err = text(v.AsString())
		} else {
			var attrs map[string]string
			if attrs, err = attributesOf(v); err == nil {
				some, err = object(attrs)
			}
		}
		all = append(all, some...)
		return err
	})
	*to = all
	return err
}

func eachElement(in cty.Value, do func(cty.Value) error) error {
	t := in.Type()
	if !t.IsTupleType() && !t.IsListType() && !t.IsSetType() {
		return fmt.Errorf("a list is required, and this is a %s", t.FriendlyName())
	}
	if in.IsNull() || !in.IsKnown() {
		return nil
	}
	for it := in.ElementIterator(); it.Next(); {
		_, v := it.Element()
		if !v.IsKnown() || v.IsNull() || v.Type() == cty.String && v.AsString() == "" {
			continue
		}
		if err := do(v); err != nil {
			return err
		}
	}
	return nil
}

func attributesOf(v cty.Value) (map[string]string, error) {
	m, err := convert.Convert(v, cty.Map(cty.String))
	if err != nil {
		return nil, err
	}
	attrs := map[string]string{}
	for name, value := range m.AsValueMap() {
		if value.IsKnown() && !value.IsNull() {
			attrs[name] = value.AsString()
		}
	}
	return attrs, nil
}

func entriesValue[E ~map[string]string](list []E) cty.Value {
	values := make([]cty.Value, 0, len(list))
	for _, e := range list {
		values = append(values, attributesValue(e))
	}
	if len(values) == 0 {
		return cty.ListValEmpty(cty.Map(cty.String))
	}
	return cty.ListVal(values)
}

func attributesValue(attrs map[string]string) cty.Value {
	if len(attrs) == 0 {
		return cty.MapValEmpty(cty.String)
	}
	values := map[string]cty.Value{}
	for name, value := range attrs {
		values[name] = cty.StringVal(value)
	}
	return cty.MapVal(values)
}

var secretType = sync.OnceValue(func() cty.Type {
	return cty.ObjectWithOptionalAttrs(map[string]cty.Type{"id": cty.String, "src": cty.String, "env": cty.String}, []string{"id", "src", "env"})
})

// FromCtyValue implements hclparser.FromCtyValueConverter.
func (s *Secrets) FromCtyValue(in cty.Value, _ cty.Path) error {
	all := Secrets{}
	err := eachElement(in, func(v cty.Value) error {
		if v.Type() == cty.String {
			one, err := parseSecret(v.AsString())
			all = append(all, one)
			return err
		}
		o, err := convert.Convert(v, secretType())
		if err != nil {
			return err
		}
		all = append(all, Secret{ID: textOf(o, "id"), Src: textOf(o, "src"), Env: textOf(o, "env")})
		return nil
	})
	*s = all
	return err
}

// ToCtyValue implements hclparser.ToCtyValueConverter.
func (s Secrets) ToCtyValue() cty.Value {
	if len(s) == 0 {
		return cty.ListValEmpty(secretType())
	}
	var values []cty.Value
	for _, one := range s {
		values = append(values, cty.ObjectVal(map[string]cty.Value{
			"id": cty.StringVal(one.ID), "src": cty.StringVal(one.Src), "env": cty.StringVal(one.Env),
		}))
	}
	return cty.ListVal(values)
}

func textOf(o cty.Value, name string) string {
	if v := o.GetAttr(name); v.IsKnown() && !v.IsNull() {
		return v.AsString()
	}
	return ""
}

var sshType = sync.OnceValue(func() cty.Type {
	return cty.ObjectWithOptionalAttrs(map[string]cty.Type{"id": cty.String, "paths": cty.List(cty.String)}, []string{"id", "paths"})
})

// FromCtyValue implements hclparser.FromCtyValueConverter.
func (s *SSHKeys) FromCtyValue(in cty.Value, _ cty.Path) error {
	all := SSHKeys{}
	err := eachElement(in, func(v cty.Value) error {
		if v.Type() == cty.String {
			all = append(all, parseSSH(v.AsString()))
			return nil
		}
		o, err := convert.Convert(v, sshType())
		if err != nil {
			return err
		}
		one := SSH{ID: textOf(o, "id")}
		if paths := o.GetAttr("paths"); paths.IsKnown() && !paths.IsNull() {
			err = gocty.FromCtyValue(paths, &one.Paths)
		}
		all = append(all, one)
		return err
	})
	*s = all
	return err
}

// ToCtyValue implements hclparser.ToCtyValueConverter.
func (s SSHKeys) ToCtyValue() cty.Value {
	if len(s) == 0 {
		return cty.ListValEmpty(sshType())
	}
	var values []cty.Value
	for _, one := range s {
		paths := cty.ListValEmpty(cty.String)
		if len(one.Paths) > 0 {
			var texts []cty.Value
			for _, p := range one.Paths {
				texts = append(texts, cty.StringVal(p))
			}
			paths = cty.ListVal(texts)
		}
		values = append(values, cty.ObjectVal(map[string]cty.Value{"id": cty.StringVal(one.ID), "paths": paths}))
	}
	return cty.ListVal(values)
}

// FromCtyValue implements hclparser.FromCtyValueConverter.
func (r *Resources) FromCtyValue(in cty.Value, _ cty.Path) error {
	if in.IsNull() || !in.IsKnown() {
		return nil
	}
	attrs, err := attributesOf(in)
	if err != nil {
		return err
	}
	*r = attrs
	return r.check()
}

// ToCtyValue implements hclparser.ToCtyValueConverter.
func (r Resources) ToCtyValue() cty.Value { return attributesValue(r) }
