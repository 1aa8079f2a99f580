// Package bake reads what `bake` builds: targets with the options of a build each, and groups of targets, from
// files in HCL or JSON and from Compose files. It gives what each target asks for once variables, matrices,
// inheritance and overrides are resolved, and builds nothing.
//
// The rules are those of docker buildx bake (docs.docker.com/build/bake/reference). Expressions, variables and
// functions are evaluated by buildx's own package bake/hclparser, Compose files are read by compose-go, so both
// mean here what they mean there.
package bake

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/buildx/bake/hclparser"
	"github.com/hashicorp/hcl/v2"
)

// File is a definition that was read.
type File struct {
	Name string // "-" for standard input
	Data []byte
}

// Config is what the files define.
type Config struct {
	Groups  []*Group  `hcl:"group,block" cty:"group"`
	Targets []*Target `hcl:"target,block" cty:"target"`

	// Variables are those of HCL and JSON files, by name.
	Variables []*hclparser.Variable
}

// Environment is what a definition can refer to beside its own variables.
type Environment struct {
	// Builtin are BAKE_CMD_CONTEXT and BAKE_LOCAL_PLATFORM, which no file can redefine.
	Builtin map[string]string
	// Vars are the values of --var, before which those of the process's environment give way.
	Vars map[string]string
}

// Lookup is the value of a variable from outside of the definition. BUILDX_BAKE_DISABLE_VARS_ENV_LOOKUP leaves only
// --var.
func (e *Environment) Lookup(name string) (string, bool) {
	if value, ok := e.Vars[name]; ok {
		return value, true
	}
	if !readsEnvironment() {
		return "", false
	}
	return os.LookupEnv(name)
}

func readsEnvironment() bool {
	off, err := strconv.ParseBool(os.Getenv("BUILDX_BAKE_DISABLE_VARS_ENV_LOOKUP"))
	return err != nil || !off
}

// evaluated is what hclparser fills: its fields are the blocks of a file.
type evaluated struct {
	Groups  []*Group  `hcl:"group,block" cty:"group"`
	Targets []*Target `hcl:"target,block" cty:"target"`
}

// Parse reads the definitions. Those of Compose come first; what the others say of the same target is merged over
// it, and of two others the later counts. The error of an expression names the file and the line.
func Parse(files []File, env Environment) (*Config, error) {
	var compose []File
	var hcls []*hcl.File
	sources := map[string][]byte{}
	for _, f := range files {
		file, isCompose, err := parseFile(f, &env)
		if err != nil {
			return nil, err
		}
		if isCompose {
			compose = append(compose, f)
			continue
		}
		hcls = append(hcls, file)
		sources[f.Name] = f.Data
	}
	relative, err := relativeToFiles()
	if err != nil {
		return nil, err
	}
	c := &Config{}
	if len(compose) > 0 {
		if err := c.addCompose(compose, &env); err != nil {
			return nil, fmt.Errorf("reading the Compose file: %w", err)
		}
		c.setComposeHome(compose)
	}
	if len(hcls) > 0 {
		if err := c.addHCL(hcls, &env); err != nil {
			return nil, locate(err, sources)
		}
	}
	if relative {
		c.makeRelative()
	}
	return c, nil
}

func (c *Config) addHCL(files []*hcl.File, env *Environment) error {
	all := evaluated{c.Groups, c.Targets}
	meta, diags := evaluate(hclparser.MergeFiles(files), hclparser.Opt{
		LookupVar: env.Lookup, Vars: env.Builtin, ValidateLabel: checkName,
	}, &all)
	if diags.HasErrors() {
		return diags
	}
	c.Groups, c.Targets, c.Variables = all.Groups, all.Targets, meta.AllVariables
	c.addMatrixGroups(meta.Renamed)
	c.unify()
	return nil
}

// evaluate is hclparser.Parse, whose panics on odd files (a null where it converts a value) are errors.
func evaluate(body hcl.Body, opt hclparser.Opt, into *evaluated) (meta *hclparser.ParseMeta, diags hcl.Diagnostics) {
	defer func() {
		if r := recover(); r != nil {
			r := body.MissingItemRange()
			diags = hcl.Diagnostics{{
				Severity: hcl.DiagError, Summary: "Invalid value", Subject: &r,
				Detail: "a value in this file has a form that cannot be evaluated; look for a null or an empty label",
			}}
		}
	}()
	return hclparser.Parse(body, opt, into)
}

// addMatrixGroups makes a group of each target with a matrix, under the name that the target's block has.
func (c *Config) addMatrixGroups(renamed map[string]map[string][]string) {
	for _, blocks := range renamed {
		for _, name := range slices.Sorted(maps.Keys(blocks)) {
			targets := unique(blocks[name])
			if len(targets) != 1 || targets[0] != name {
				c.Groups = append(c.Groups, &Group{Name: name, Targets: targets})
			}
		}
	}
}

// unify merges targets of one name, in their order, and drops what a group names twice.
func (c *Config) unify() {
	for _, g := range c.Groups {
		g.Targets = unique(g.Targets)
	}
	var targets []*Target
	for _, t := range c.Targets {
		if first := find(targets, t.Name); first != nil {
			first.Merge(t)
			continue
		}
		targets = append(targets, t)
	}
	c.Targets = targets
}

func find(targets []*Target, name string) *Target {
	for _, t := range targets {
		if t.Name == name {
			return t
		}
	}
	return nil
}

func (c *Config) findGroup(name string) *Group {
	for _, g := range c.Groups {
		if g.Name == name {
			return g
		}
	}
	return nil
}

var namePattern = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)

// checkName says whether a target can have this name.
func checkName(name string) error {
	if !namePattern.MatchString(name) {
		return fmt.Errorf("the name %q may only have letters, digits, _ and -", name)
	}
	return nil
}

// TargetName is the name of a target that is named after a Compose service, which may have dots.
func TargetName(service string) string { return strings.ReplaceAll(service, ".", "_") }

// unique keeps the first of equal texts.
func unique(texts []string) []string {
	var kept []string
	for _, text := range texts {
		if !slices.Contains(kept, text) {
			kept = append(kept, text)
		}
	}
	return kept
}

// locate adds the file and line to the first error of an evaluation, and shows the line.
func locate(err error, sources map[string][]byte) error {
	var diags hcl.Diagnostics
	if !errors.As(err, &diags) {
		return err
	}
	for _, d := range diags {
		if d.Severity != hcl.DiagError {
			continue
		}
		text := lowerFirst(d.Summary)
		if d.Detail != "" {
			text += ": " + d.Detail
		}
		if d.Subject == nil {
			return errors.New(text)
		}
		place := fmt.Sprintf("%s:%d: ", d.Subject.Filename, d.Subject.Start.Line)
		lines := strings.Split(string(sources[d.Subject.Filename]), "\n")
		if n := d.Subject.Start.Line; n >= 1 && n <= len(lines) && strings.TrimSpace(lines[n-1]) != "" {
			text += fmt.Sprintf("\n  %d | %s", n, strings.TrimRight(lines[n-1], " \t\r"))
		}
		return errors.New(place + text)
	}
	return err
}

func lowerFirst(text string) string {
	if text == "" {
		return ""
	}
	return strings.ToLower(text[:1]) + text[1:]
}
