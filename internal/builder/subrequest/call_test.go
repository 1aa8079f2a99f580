package subrequest

import "testing"

func TestParseMethod(t *testing.T) {
	for text, want := range map[string]Method{
		"":                                     {Name: Build},
		"build":                                {Name: Build},
		"lint":                                 {Name: Check},
		"check,format=json":                    {Name: Check, JSON: true},
		"format=text,outline":                  {Name: Outline},
		`"targets","format=json"`:              {Name: Targets, JSON: true},
		"check,ignorestatus=1":                 {Name: Check, IgnoreStatus: true},
		"check,ignorestatus=false,format=json": {Name: Check, JSON: true},
	} {
		if got, err := ParseMethod(text); err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"nope", "check,check", "check,format=xml", "check,ignorestatus=x", "check,a=b", "check=1", `"`, ","} {
		if got, err := ParseMethod(text); err == nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

func FuzzParseMethod(f *testing.F) {
	for _, seed := range []string{"check,format=json", "targets,ignorestatus=true", `"a""b",c=`, ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, err := ParseMethod(text)
		if err != nil {
			return
		}
		switch m.Name {
		case Build, Check, Outline, Targets:
		default:
			t.Errorf("%q: %+v", text, m)
		}
	})
}
