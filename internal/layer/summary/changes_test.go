package summary

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
)

// memory is a layer of files: contents by path; a path that ends in / is a directory, "-" before it a whiteout, and
// contents that begin with > name the path that a hard link shares.
type memory map[string]string

func (m memory) TOC(context.Context) (*layer.TOC, error) {
	var entries []*layer.Entry
	for path, data := range m {
		e := &layer.Entry{Path: path, Type: layer.File, Mode: 0o644, Size: int64(len(data)), Digest: digest.FromString(data)}
		switch {
		case strings.HasSuffix(path, "/"):
			e = &layer.Entry{Path: strings.TrimSuffix(path, "/"), Type: layer.Dir, Mode: 0o755}
		case strings.HasPrefix(path, "-"):
			e = &layer.Entry{Path: path[1:], Type: layer.Whiteout}
		case strings.HasPrefix(data, ">"):
			e = &layer.Entry{Path: path, Type: layer.Hardlink, Link: data[1:]}
		}
		entries = append(entries, e)
	}
	return layer.NewTOC(entries)
}

func (m memory) Open(_ context.Context, e *layer.Entry) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(m[e.Path])), nil
}

func TestBetween(t *testing.T) {
	const site = "usr/lib/python3.11/site-packages/"
	const status = "Package: a\nStatus: install ok installed\nVersion: %\n\nPackage: old\nStatus: deinstall ok config-files\nVersion: %\n\nPackage: same\nStatus: install ok installed\nVersion: 1\n"
	version := func(v string) string { return strings.ReplaceAll(status, "%", v) }
	for _, test := range []struct {
		name          string
		before, after memory
		want          string
	}{
		{"nothing", memory{"a": "1", "d/": ""}, memory{"a": "1", "d/": ""}, ""},
		{"a file", memory{"a": "1"}, memory{"a": "2"}, "1 file changed: /a"},
		{"some of each", memory{"a": "1", "b": "1", "c": "1"}, memory{"a": "2", "b": "2", "d": "1"}, "2 files changed: /a, /b; 1 file added: /d; 1 file removed: /c"},
		{"many", memory{}, memory{"a": "", "b": "", "c": "", "d": ""}, "4 files added: /a, /b, /c, …"},
		{"a file goes", memory{"a": "1"}, memory{"-a": ""}, "1 file changed: /a"},
		{"links arranged otherwise", memory{"a": "1", "b": ">a"}, memory{"b": "1", "a": ">b"}, ""},
		{
			"pip", memory{"-" + site + "pip-22.dist-info": "", site + "pip-23.0.1.dist-info/": "", site + "pip/": "", site + "pip/x": "1"},
			memory{"-" + site + "pip-22.dist-info": "", site + "pip-24.2.dist-info/": "", site + "pip/": "", site + "pip/x": "2"},
			"pip 23.0.1 → 24.2; 1 file changed; 1 file added; 1 file removed",
		},
		{
			"packages come and go", memory{site + "six-1.dist-info/": "", site + "b-1.egg-info/": ""}, memory{site + "c-2.dist-info/": "", site + "b-1.egg-info/": ""},
			"+ c 2, - six 1; 1 file added; 1 file removed",
		},
		{"no package", memory{"home/x-1.dist-info/": ""}, memory{"home/x-2.dist-info/": ""}, "1 file added: /home/x-2.dist-info; 1 file removed: /home/x-1.dist-info"},
		{"dpkg", memory{"var/lib/dpkg/status": version("1.0")}, memory{"var/lib/dpkg/status": version("1:2")}, "a 1.0 → 1:2; 1 file changed"},
		{"apk", memory{"lib/apk/db/installed": "P:a\nV:1-r0\n\nP:b\nV:1-r0\n"}, memory{"lib/apk/db/installed": "P:a\nV:1-r1\n\nP:b\nV:1-r0\n"}, "a 1-r0 → 1-r1; 1 file changed"},
		{
			"many packages", memory{}, memory{"lib/apk/db/installed": "P:a\nV:1\nP:b\nV:1\nP:c\nV:1\nP:d\nV:1\nP:e\nV:1\nP:f\nV:1\nP:g\nV:1\n"},
			"+ a 1, + b 1, + c 1, + d 1, + e 1, 2 more packages; 1 file added",
		},
	} {
		c, err := Between(t.Context(), test.before, test.after)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if diff := cmp.Diff(test.want, c.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}
