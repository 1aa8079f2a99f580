package dockerfile

import (
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

func (in *instruction) arg(c *instructions.ArgCommand) error {
	texts := make([]string, len(c.Args))
	for i, a := range c.Args {
		lintSecret("ARG", a.Key, c.Location(), in.rules)
		if in.step.OnBuild {
			in.stage.plan.useArg(a.Key)
		}
		apply := in.graphArg
		if in.dialect.Config.EnvWins {
			apply = in.classicArg
		}
		text, err := apply(a)
		if err != nil {
			return err
		}
		texts[i] = text
	}
	in.row("ARG " + strings.Join(texts, " "))
	return nil
}

// graphArg follows BuildKit's dispatchArg: the value is the build argument's, else the default's, else that of the
// global ARG (or automatic argument) of this name, and it replaces what ENV set.
func (in *instruction) graphArg(a instructions.KeyValuePairOptional) (text string, err error) {
	p := in.stage.plan
	value, ok := p.options.Args[a.Key]
	inherited := false
	switch {
	case ok:
	case a.Value != nil:
		if value, err = in.expand(*a.Value); err != nil {
			return "", err
		}
		ok = true
	default:
		value, ok = p.global.Get(a.Key)
		inherited = ok
	}
	in.outline.declare(a, value, inherited, ranges(in.c.Location()))
	in.scope.setArg(a.Key, value)
	if !ok {
		return a.Key, nil
	}
	// Two arguments only tell BuildKit what to scan; they are no variables (nonEnvArgs).
	if a.Key != ScanContext && a.Key != ScanStage {
		in.scope.env.set(a.Key, value)
	}
	return a.Key + "=" + value, nil
}

// classicArg follows Docker's dispatchArg and getBuildArg: ENV wins over ARG, the automatic arguments are unknown, and
// the history shows the default, not the value.
func (in *instruction) classicArg(a instructions.KeyValuePairOptional) (text string, err error) {
	name, err := in.expand(a.Key)
	if err != nil {
		return "", err
	}
	text = name
	var value string
	ok := a.Value != nil
	if ok {
		if value, err = in.expand(*a.Value); err != nil {
			return "", err
		}
		text += "=" + value
	}
	p := in.stage.plan
	if given, isGiven := p.options.Args[name]; isGiven {
		value, ok = given, true
	} else if !ok && p.isGlobalArg(name) {
		value, ok = p.global.Get(name)
	}
	in.declare(name)
	if ok {
		in.showArg(name, value)
	} else {
		in.hideArg(name)
	}
	return text, nil
}

// showArg makes a build argument visible unless the config has a variable of this name.
func (w *Walk) showArg(name, value string) {
	w.scope.setArg(name, value)
	if _, inConfig := w.envAt[name]; !inConfig {
		w.scope.env.set(name, value)
	}
}

// hideArg takes back the value that an earlier ARG gave: one without a default counts, too.
func (w *Walk) hideArg(name string) {
	if i, ok := w.scope.argAt[name]; ok {
		w.scope.args[i].unset = true
	}
	if _, inConfig := w.envAt[name]; !inConfig {
		w.scope.env.unset(name)
	}
}

// declare notes that an ARG names a proxy argument, which puts it into the history like any other.
func (w *Walk) declare(name string) {
	if w.declared == nil {
		w.declared = map[string]bool{}
	}
	w.declared[name] = true
}

func (p *Plan) isGlobalArg(name string) bool {
	for _, c := range p.file.globalArgs {
		for _, a := range c.Args {
			if a.Key == name {
				return true
			}
		}
	}
	return false
}
