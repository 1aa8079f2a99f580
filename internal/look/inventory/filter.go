package inventory

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/look/history"
	"github.com/strata-build/strata/internal/store"
)

// Filter is what --filter asks for. A nil Filter lets everything through.
type Filter struct {
	dangling      *bool
	labels, lacks []string
	references    []string
	before, since time.Time
	// Until is the time that until= names, zero without it.
	Until time.Time
	// Type is the kind of cache that type= names, "" without it.
	Type string
}

// Kinds of cache, as BuildKit names them (client.UsageRecordType).
const (
	CacheMounts = "exec.cachemount" // RUN --mount=type=cache
	Records     = "regular"         // what steps gave
)

// ParseFilter reads the values of --filter. allowed are the names that the command knows.
func ParseFilter(s *store.Store, values []string, allowed ...string) (*Filter, error) {
	f := &Filter{}
	for _, text := range values {
		name, value, ok := strings.Cut(text, "=")
		name = strings.ToLower(strings.TrimSpace(name))
		negated := strings.HasSuffix(name, "!")
		name = strings.TrimSuffix(name, "!")
		if !ok || !slices.Contains(allowed, name) || negated && name != "label" {
			return nil, fmt.Errorf("--filter %s: it is one of %s=…", text, strings.Join(allowed, "=…, "))
		}
		if err := f.set(s, name, value, negated); err != nil {
			return nil, fmt.Errorf("--filter %s: %w", text, err)
		}
	}
	return f, nil
}

func (f *Filter) set(s *store.Store, name, value string, negated bool) (err error) {
	switch name {
	case "dangling":
		var b bool
		switch strings.ToLower(value) {
		case "true", "1":
			b = true
		case "false", "0":
		default:
			return fmt.Errorf("it is true or false")
		}
		f.dangling = &b
	case "label":
		if negated {
			f.lacks = append(f.lacks, value)
		} else {
			f.labels = append(f.labels, value)
		}
	case "reference":
		if _, err := path.Match(value, ""); err != nil {
			return fmt.Errorf("the pattern has a bracket without its counterpart")
		}
		f.references = append(f.references, value)
	case "before":
		f.before, err = createdAt(s, value)
	case "since":
		f.since, err = createdAt(s, value)
	case "type":
		if f.Type = value; value != CacheMounts && value != Records {
			return fmt.Errorf("it is %s or %s", CacheMounts, Records)
		}
	case "until":
		f.Until, err = parseTime(value, time.Now())
	}
	return err
}

func createdAt(s *store.Store, name string) (time.Time, error) {
	c, err := history.Find(s, name)
	if err != nil {
		return time.Time{}, err
	}
	config, err := image.Parse(c.Data)
	if err != nil {
		return time.Time{}, err
	}
	return image.Created(config), nil
}

// parseTime reads a moment: "24h" or "7d" ago, with a minus from now on, seconds since 1970, or a date with or without a
// time. A 0 is no time ago, as for docker.
func parseTime(text string, now time.Time) (time.Time, error) {
	ago, future := strings.CutPrefix(text, "-")
	if d, ok := human.ParseDuration(ago); ok || ago == "0" {
		if future {
			d = -d
		}
		return now.Add(-d), nil
	}
	var seconds int64
	if _, err := fmt.Sscanf(text, "%d", &seconds); err == nil && fmt.Sprint(seconds) == text {
		return time.Unix(seconds, 0), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02T15", "2006-01-02Z07:00", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("it takes a duration such as 24h or 7d, or a time such as 2026-01-31T12:00:00")
}

// Keeps says whether a prune with this filter must leave an image alone.
func (f *Filter) Keeps(c *store.Config) bool {
	config, err := image.Parse(c.Data)
	return err == nil && !f.matchesLabels(config)
}

func (f *Filter) matchesLabels(c *image.Config) bool {
	return !slices.ContainsFunc(f.labels, func(l string) bool { return !hasLabel(c, l) }) &&
		!slices.ContainsFunc(f.lacks, func(l string) bool { return hasLabel(c, l) })
}

// matches keeps the names that match a reference= pattern only: the others are not to be listed.
func (f *Filter) matches(img *Image, hasChildren bool) bool {
	if f == nil {
		return true
	}
	if f.dangling != nil && *f.dangling != (len(img.Names)+len(img.Others) == 0 && !hasChildren) {
		return false
	}
	created := image.Created(img.Config)
	if !f.before.IsZero() && !created.Before(f.before) || !f.since.IsZero() && !created.After(f.since) ||
		!f.Until.IsZero() && !created.Before(f.Until) || !f.matchesLabels(img.Config) {
		return false
	}
	if len(f.references) == 0 {
		return true
	}
	unwanted := func(n Name) bool {
		return !slices.ContainsFunc(f.references, func(pattern string) bool { return matchesReference(pattern, n) })
	}
	img.Names = slices.DeleteFunc(slices.Clone(img.Names), unwanted)
	img.Others = slices.DeleteFunc(slices.Clone(img.Others), unwanted)
	return len(img.Names)+len(img.Others) > 0
}

func matchesReference(pattern string, n Name) bool {
	ref, err := reference.ParseNormalizedNamed(n.Full)
	if err != nil {
		return false
	}
	for _, text := range []string{n.String(), n.Repository, ref.String(), ref.Name()} {
		if ok, _ := path.Match(pattern, text); ok {
			return true
		}
	}
	return false
}

// UniqueSize is what an image's layers hold that none of the other images has, in bytes; -1 if that is not known.
func UniqueSize(s *store.Store, img *Image, sharers map[digest.Digest]int) (int64, error) {
	total := int64(0)
	for _, d := range slices.Compact(slices.Sorted(slices.Values(img.Config.RootFS.DiffIDs))) {
		if sharers[d] > 1 {
			continue
		}
		l, err := s.Layer(d)
		if err != nil {
			return -1, err
		}
		if l.Size < 0 {
			return -1, nil
		}
		total += l.Size
	}
	return total, nil
}
