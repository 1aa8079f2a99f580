package cli

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/strata-build/strata/internal/look/inventory"
	"github.com/strata-build/strata/internal/store"
)

// cacheFilter is what --filter asks for of the build cache, as buildx's prune and du have it.
type cacheFilter struct {
	// simple is until= and type=.
	simple *inventory.Filter
	tests  []func(*cacheEntry) bool
}

// cacheFilterHelp is the text of the flag.
const cacheFilterHelp = "only matching entries, as `KEY=VALUE`: until=TIME or DURATION (last used before), type=regular (records) or exec.cachemount (cache mounts), " +
	"id=, description=, mutable, immutable, shared, private, inuse; != for another value, ~= for a pattern"

// parseCacheFilter reads the values of --filter.
func parseCacheFilter(s *store.Store, values []string) (*cacheFilter, error) {
	f := &cacheFilter{}
	var simple []string
	for _, text := range values {
		key, value, given := strings.Cut(text, "=")
		value = strings.TrimPrefix(value, "=") // ==
		operator := ""
		if n := len(key); n > 0 && strings.Contains("!~", key[n-1:]) {
			key, operator = key[:n-1], key[n-1:]
		}
		key = strings.ToLower(key)
		if key == "unused-for" {
			key = "until"
		}
		var err error
		switch key {
		case "until", "type":
			if operator == "" {
				simple = append(simple, key+"="+value)
				continue
			}
			if key == "until" {
				return nil, usageError("--filter %s: it is until=TIME or DURATION", text)
			}
			err = f.addText(key, operator, value)
		case "id", "description":
			err = f.addText(key, operator, value)
		case "mutable", "immutable", "shared", "private", "inuse":
			err = f.addState(key, operator, value, given)
		case "parents":
			err = fmt.Errorf("a record has no parents here: its key tells what it follows from; see strata explain")
		default:
			err = fmt.Errorf("it is one of until, type, id, description, mutable, immutable, shared, private, inuse")
		}
		if err != nil {
			return nil, usageError("--filter %s: %w", text, err)
		}
	}
	var err error
	if f.simple, err = inventory.ParseFilter(s, simple, "until", "type"); err != nil {
		return nil, &exit{exitUsage, err}
	}
	return f, nil
}

// addText adds a test of a text. An ID may be a part of one, as with buildx.
func (f *cacheFilter) addText(key, operator, value string) error {
	if operator == "~" || key == "id" && operator == "" {
		re, err := regexp.Compile(value)
		if err != nil {
			return err
		}
		f.tests = append(f.tests, func(e *cacheEntry) bool { return re.MatchString(e.text(key)) })
		return nil
	}
	f.tests = append(f.tests, func(e *cacheEntry) bool { return (e.text(key) == value) == (operator == "") })
	return nil
}

func (e *cacheEntry) text(key string) string {
	switch key {
	case "id":
		return e.id
	case "type":
		return e.kind
	}
	return e.description
}

// addState adds a test of what is so or not: "shared", "shared=false".
func (f *cacheFilter) addState(key, operator, value string, given bool) error {
	want := true
	if given {
		var err error
		if want, err = strconv.ParseBool(value); err != nil || operator == "~" {
			return fmt.Errorf("it stands alone, or is true or false")
		}
	}
	want = want == (operator == "")
	f.tests = append(f.tests, func(e *cacheEntry) bool { return e.is(key) == want })
	return nil
}

func (e *cacheEntry) is(key string) bool {
	switch key {
	case "mutable":
		return e.kind == inventory.CacheMounts
	case "immutable":
		return e.kind != inventory.CacheMounts
	case "shared":
		return e.shared
	case "private":
		return !e.shared
	}
	return e.inUse
}

func (f *cacheFilter) matches(e *cacheEntry) bool {
	if f.simple.Type != "" && f.simple.Type != e.kind || !f.until().IsZero() && !e.used.Before(f.until()) {
		return false
	}
	return !slices.ContainsFunc(f.tests, func(test func(*cacheEntry) bool) bool { return !test(e) })
}

func (f *cacheFilter) until() time.Time { return f.simple.Until }

// only are the entries that match, for a prune; nil if until= and type= say it all.
func (f *cacheFilter) only(s *store.Store) (*store.OnlyCache, error) {
	if len(f.tests) == 0 {
		return nil, nil
	}
	all, err := cacheEntries(s)
	if err != nil {
		return nil, err
	}
	only := &store.OnlyCache{}
	for _, e := range all {
		if !f.matches(&e) {
			continue
		}
		if e.kind == inventory.CacheMounts {
			only.Mounts = append(only.Mounts, e.id)
		} else {
			only.Records = append(only.Records, e.key)
		}
	}
	return only, nil
}
