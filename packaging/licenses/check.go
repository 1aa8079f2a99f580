package main

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// licences are those under which a part may be linked, with sentences that only they have. All sentences have to be there;
// the first that fits counts. What is not here has to be read by a person first.
var licences = []struct {
	id        string
	sentences []string
}{
	{"Apache-2.0", []string{"apache license version 2.0, january 2004", "grant of patent license"}},
	{"Apache-2.0", []string{`licensed under the apache license, version 2.0 (the "license")`}}, // the short form, or yaml's
	{"MPL-2.0", []string{"mozilla public license version 2.0"}},
	{"MPL-2.0", []string{"mozilla public license, version 2.0"}}, // as HashiCorp spells it
	{"LGPL-2.1", []string{"gnu lesser general public license version 2.1"}},
	{"BSD-3-Clause", []string{"redistribution and use in source and binary forms", "endorse or promote products"}},
	{"BSD-2-Clause", []string{"redistribution and use in source and binary forms", "provided that the following conditions are met"}},
	{"MIT", []string{"permission is hereby granted, free of charge, to any person obtaining a copy", "without warranty of any kind"}},
	{"ISC", []string{"permission to use, copy, modify, and/or distribute this software for any purpose"}},
	{"ISC", []string{"permission to use, copy, modify, and distribute this software for any purpose"}},
	{"blessing", []string{"sqlite is public domain"}},
	{"Unlicense", []string{"this is free and unencumbered software released into the public domain"}},
	{"CC0-1.0", []string{"cc0 1.0 universal"}},
}

// unfit are the titles of licences under which nothing may be linked into a program under Apache-2.0, or that are not free.
var unfit = []string{
	"gnu general public license version", "gnu affero general public license version", "server side public license",
	"business source license", "commons clause", "elastic license", "noncommercial", "creative commons attribution-nc",
}

var spaces = regexp.MustCompile(`[\s*#>]+`)

// identify returns the SPDX identifier of a licence's text, or "".
func identify(content string) string {
	content = spaces.ReplaceAllString(strings.ToLower(content), " ")
next:
	for _, l := range licences {
		for _, s := range l.sentences {
			if !strings.Contains(content, s) {
				continue next
			}
		}
		return l.id
	}
	return ""
}

// notices are files that come beside a licence and need not be one.
var notices = regexp.MustCompile(`(?i)^(notice|patents|copying\.md|copyright|licen[cs]e-3rd-party)`)

// check returns an error for each part that has no licence, or one that is not known or unfit.
func check(parts []part) error {
	var errs []error
	for _, p := range parts {
		known := false
		for _, t := range p.texts {
			content := spaces.ReplaceAllString(strings.ToLower(t.content), " ")
			for _, title := range unfit {
				if t.file != "copyright" && t.license != "LGPL-2.1" && t.license != "MPL-2.0" && strings.Contains(content, title) {
					errs = append(errs, fmt.Errorf("%s: %s speaks of the %s: it cannot be linked", p.name, t.file, title))
				}
			}
			if t.license == "" && !notices.MatchString(t.file) {
				errs = append(errs, fmt.Errorf("%s: %s is no licence that is known: read it, and add it to packaging/licenses/check.go "+
					"if strata may be linked with it", p.name, t.file))
			}
			known = known || t.license != ""
		}
		if !known {
			errs = append(errs, fmt.Errorf("%s: no licence was found", p.name))
		}
	}
	return errors.Join(errs...)
}
