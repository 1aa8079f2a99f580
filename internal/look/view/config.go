package view

import (
	"fmt"
	"slices"
	"strings"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/human/style"
	"github.com/strata-build/strata/internal/image"
)

// ConfigChange is one difference between the configurations of two states.
type ConfigChange struct {
	Field string `json:"field"` // as the instruction that sets it: ENV, CMD, USER, LABEL, …
	// Key is the name of the variable, label, port or volume, "" for what there is only one of.
	Key    string `json:"key,omitempty"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
	Change string `json:"change"` // added, changed or removed
}

// setting is one thing that a configuration says.
type setting struct{ field, key string }

// CompareConfigs tells how two configurations differ; before may be nil. History, layers and times do not count.
func CompareConfigs(before, after *image.Config) []ConfigChange {
	var a map[setting]string
	if before != nil {
		a = settings(before)
	}
	b := settings(after)
	var out []ConfigChange
	for s, was := range a {
		now, ok := b[s]
		switch {
		case !ok:
			out = append(out, ConfigChange{s.field, s.key, was, "", "removed"})
		case now != was:
			out = append(out, ConfigChange{s.field, s.key, was, now, "changed"})
		}
	}
	for s, now := range b {
		if _, ok := a[s]; !ok {
			out = append(out, ConfigChange{s.field, s.key, "", now, "added"})
		}
	}
	slices.SortFunc(out, func(x, y ConfigChange) int {
		return strings.Compare(x.Field+"\x00"+x.Key, y.Field+"\x00"+y.Key)
	})
	return out
}

// settings lists what a configuration says. Of a variable that is set twice the first counts, as for a process.
func settings(c *image.Config) map[setting]string {
	m := map[setting]string{}
	put := func(field, key, value string) {
		if value != "" || key != "" {
			m[setting{field, key}] = value
		}
	}
	for _, kv := range slices.Backward(c.Config.Env) {
		name, value, _ := strings.Cut(kv, "=")
		put("ENV", name, value)
	}
	for name, value := range c.Config.Labels {
		put("LABEL", name, value)
	}
	for port := range c.Config.ExposedPorts {
		put("EXPOSE", port, "")
	}
	for dir := range c.Config.Volumes {
		put("VOLUME", dir, "")
	}
	put("CMD", "", argv(c.Config.Cmd))
	put("ENTRYPOINT", "", argv(c.Config.Entrypoint))
	put("SHELL", "", argv(c.Config.Shell))
	put("USER", "", c.Config.User)
	put("WORKDIR", "", c.Config.WorkingDir)
	put("STOPSIGNAL", "", c.Config.StopSignal)
	put("MAINTAINER", "", c.Author)
	put("HEALTHCHECK", "", healthcheck(c.Config.Healthcheck))
	for i, trigger := range c.Config.OnBuild {
		put("ONBUILD", fmt.Sprint(i+1), trigger)
	}
	put("PLATFORM", "", strings.Trim(c.OS+"/"+c.Architecture+"/"+c.Variant, "/"))
	return m
}

// argv is a command as the exec form writes it.
func argv(args []string) string {
	if args == nil {
		return ""
	}
	words := make([]string, len(args))
	for i, w := range args {
		words[i] = fmt.Sprintf("%q", w)
	}
	return "[" + strings.Join(words, ", ") + "]"
}

func healthcheck(h *image.Healthcheck) string {
	if h == nil {
		return ""
	}
	return fmt.Sprintf("%s interval=%v timeout=%v start-period=%v start-interval=%v retries=%d",
		argv(h.Test), h.Interval, h.Timeout, h.StartPeriod, h.StartInterval, h.Retries)
}

// printConfig prints differences, a line or two for each.
func (p *Printer) printConfig(changes []ConfigChange) {
	for _, c := range changes {
		name := c.Field
		if c.Key != "" {
			name += " " + c.Key
		}
		say := func(sign string, color style.Style, value string) {
			text := sign + " " + name
			if value != "" {
				text += "=" + value
			}
			p.line("%s", p.paint(color, human.Clean(text)))
		}
		if c.Change != "added" {
			say("-", style.Red, c.Before)
		}
		if c.Change != "removed" {
			say("+", style.Green, c.After)
		}
	}
}
