package secret

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]Source{
		"id=a,src=f":              {ID: "a", File: "f"},
		"id=a,source=f":           {ID: "a", File: "f"},
		"ID=a,SRC=f":              {ID: "a", File: "f"},
		"type=file,id=a,src=f":    {ID: "a", File: "f"},
		"id=a,env=V":              {ID: "a", Env: "V"},
		"type=env,id=a,src=V":     {ID: "a", Env: "V"},
		"id=a,type=env,env=V":     {ID: "a", Env: "V"},
		"id=a":                    {ID: "a"},
		`id=a,"src=with,a comma"`: {ID: "a", File: "with,a comma"},
	} {
		if got, err := Parse(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"":                 "it takes id=ID",
		"src=f":            "needs an id",
		"id=":              "needs an id",
		"id=a,type=vault":  "file or env",
		"id=a,value=hush":  "no other field",
		"hush":             "a field has no =",
		"id=a,hush":        "a field has no =",
		`id=a,"src=hush`:   "it takes id=ID",
		"id=a,hush=hush":   "no other field",
		"type=hush,id=abc": "file or env",
	} {
		_, err := Parse(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		} else if strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: the error says too much: %v", text, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"id=a,src=f", "type=env,id=a,src=V", `id=a,"src=x,y"`, "id", "=", "id=a,,"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if err == nil && s.ID == "" {
			t.Errorf("%q: a secret without an id", text)
		}
	})
}

func TestStore(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	write := func(name string, size int) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.Repeat("x", size)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("file", 3)
	write("most", MaxSize)
	write("more", MaxSize+1)
	t.Setenv("VARIABLE", "value")
	t.Setenv("BOTH", "of the environment")
	write("BOTH", 1)
	s, err := NewStore([]Source{
		{ID: "a", File: "most"}, {ID: "a", File: "file"}, {ID: "e", Env: "VARIABLE"}, {ID: "file"}, {ID: "VARIABLE"}, {ID: "BOTH"},
		{ID: "unset", Env: "STRATA_TEST_UNSET"}, {ID: "most", File: "most"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]string{
		"a": "xxx", "e": "value", "file": "xxx", "VARIABLE": "value", "BOTH": "of the environment", "unset": "",
		"most": strings.Repeat("x", MaxSize),
	} {
		if got, ok, err := s.Get(id); !ok || err != nil || string(got) != want {
			t.Errorf("%s: %d bytes, %v, %v", id, len(got), ok, err)
		}
	}
	if _, ok, err := s.Get("other"); ok || err != nil {
		t.Errorf("a secret that is not there: %v, %v", ok, err)
	}
	if _, ok, err := (*Store)(nil).Get("a"); ok || err != nil {
		t.Errorf("a build without secrets: %v, %v", ok, err)
	}
	for _, from := range []Source{{ID: "x", File: "missing"}, {ID: "missing"}, {ID: "x", File: "."}, {ID: "x", File: "more"}} {
		if _, err := NewStore([]Source{from}); err == nil || !strings.HasPrefix(err.Error(), "the secret "+from.ID+": ") {
			t.Errorf("%+v: %v", from, err)
		}
	}
	// One that grew, or whose size nobody knows before it is read.
	write("most", MaxSize+1)
	late, err := NewStore([]Source{{ID: "x", File: "/dev/zero"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := late.Get("x"); err == nil || !strings.Contains(err.Error(), "too big") {
		t.Errorf("a secret without an end: %v", err)
	}
}
