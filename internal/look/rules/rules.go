// Package rules judges an image by the rules that dive has for continuous integration, with its numbers, its file of
// settings and its output, so that a pipeline that calls dive can call strata instead.
package rules

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"go.yaml.in/yaml/v3"
)

// Config are the thresholds, as they are written: a number, a size, or "" or "disabled" for a rule that is not applied.
type Config struct {
	LowestEfficiency         string `yaml:"lowestEfficiency"`         // 0 to 1
	HighestWastedBytes       string `yaml:"highestWastedBytes"`       // such as 20MB or 1MiB
	HighestUserWastedPercent string `yaml:"highestUserWastedPercent"` // 0 to 1
}

// Default are dive's own thresholds.
func Default() Config {
	return Config{LowestEfficiency: "0.9", HighestWastedBytes: "disabled", HighestUserWastedPercent: "0.1"}
}

// DefaultFile is where the thresholds are looked for, in the working directory.
const DefaultFile = ".dive-ci"

// maxFile bounds the file, in bytes.
const maxFile = 1 << 20

// Read reads the thresholds of a file; those that it does not set are dive's own. A file that is not there is no error
// unless the person named it.
func Read(name string, named bool) (Config, error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return Default(), nil
	}
	if err != nil {
		return Config{}, fmt.Errorf("reading the rules: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return Config{}, fmt.Errorf("reading the rules: %w", err)
	}
	c, err := parse(data)
	if err != nil {
		return Config{}, fmt.Errorf("reading the rules of %s: %w", name, err)
	}
	return c, nil
}

func parse(data []byte) (Config, error) {
	file := struct {
		Rules Config `yaml:"rules"`
	}{Default()}
	d := yaml.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(&file); err != nil && !errors.Is(err, io.EOF) {
		return Config{}, fmt.Errorf("%w; it is YAML, with lowestEfficiency, highestWastedBytes and highestUserWastedPercent below rules", err)
	}
	return file.Rules, nil
}

// rule is one threshold, ready to be applied.
type rule struct {
	key, text string
	disabled  bool
	// broken says how the image breaks the rule, "" if it does not.
	broken func(*Analysis) string
}

// rules makes the rules, in the order of their names. Errors say which threshold cannot be read.
func (c Config) rules() ([]rule, error) {
	wasted, err := size("highestWastedBytes", c.HighestWastedBytes)
	if err != nil {
		return nil, err
	}
	percent, err := fraction("highestUserWastedPercent", c.HighestUserWastedPercent)
	if err != nil {
		return nil, err
	}
	efficiency, err := fraction("lowestEfficiency", c.LowestEfficiency)
	if err != nil {
		return nil, err
	}
	return []rule{
		{"highestUserWastedPercent", c.HighestUserWastedPercent, disabled(c.HighestUserWastedPercent), func(a *Analysis) string {
			if a.UserWastedPercent <= percent {
				return ""
			}
			return fmt.Sprintf("too many bytes wasted, relative to the user bytes added (%%-user-wasted-bytes=%2.2f > threshold=%v)", a.UserWastedPercent, percent)
		}},
		{"highestWastedBytes", c.HighestWastedBytes, disabled(c.HighestWastedBytes), func(a *Analysis) string {
			if a.WastedBytes <= wasted {
				return ""
			}
			return fmt.Sprintf("too many bytes wasted (wasted-bytes=%d > threshold=%v)", a.WastedBytes, wasted)
		}},
		{"lowestEfficiency", c.LowestEfficiency, disabled(c.LowestEfficiency), func(a *Analysis) string {
			if a.Efficiency >= efficiency {
				return ""
			}
			return fmt.Sprintf("image efficiency is too low (efficiency=%2.2f < threshold=%v)", a.Efficiency, efficiency)
		}},
	}, nil
}

func disabled(text string) bool {
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "", "disabled", "off", "false":
		return true
	}
	return false
}

// fraction reads a number from 0 to 1.
func fraction(key, text string) (float64, error) {
	if disabled(text) {
		return 0, nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || !(f >= 0 && f <= 1) {
		return 0, fmt.Errorf("the rule %s is %q: it takes a number from 0 to 1, or disabled", key, text)
	}
	return f, nil
}

// size reads a size: MB are a million bytes, MiB are 1,048,576.
func size(key, text string) (int64, error) {
	if disabled(text) {
		return 0, nil
	}
	read := units.FromHumanSize
	if strings.Contains(strings.ToLower(text), "ib") {
		read = units.RAMInBytes
	}
	n, err := read(strings.TrimSpace(text))
	if err != nil || n < 0 {
		return 0, fmt.Errorf("the rule %s is %q: it takes a size such as 20MB, or disabled", key, text)
	}
	return n, nil
}

// Result is what the rules say of an image.
type Result struct {
	*Analysis
	Pass  bool
	Rules []RuleResult
}

// RuleResult is what one rule says.
type RuleResult struct {
	Key     string
	Status  string // PASS, FAIL or SKIP
	Message string
}

// Judge applies the rules.
func Judge(c Config, a *Analysis) (*Result, error) {
	rules, err := c.rules()
	if err != nil {
		return nil, err
	}
	r := &Result{Analysis: a, Pass: true}
	for _, rule := range rules {
		result := RuleResult{rule.key, "PASS", rule.text}
		if rule.disabled {
			result.Status, result.Message = "SKIP", "disabled"
		} else if message := rule.broken(a); message != "" {
			result.Status, result.Message = "FAIL", message
			r.Pass = false
		}
		r.Rules = append(r.Rules, result)
	}
	return r, nil
}
