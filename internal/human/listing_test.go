package human

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestWrite(t *testing.T) {
	l := Listing{Headers: map[string]string{"ID": "IMAGE ID", "Name": "NAME"}, Default: []string{"ID", "Name"}, Raw: []string{"id ID", "name Name"}}
	rows := []Row{{"ID": "abc", "Name": "x<y"}, {"ID": "0123456789ab", "Name": ""}}
	for _, test := range []struct{ format, want string }{
		{"", "IMAGE ID       NAME\nabc            x<y\n0123456789ab   \n"},
		{"table", "IMAGE ID       NAME\nabc            x<y\n0123456789ab   \n"},
		{`table {{.Name}}\t{{upper .ID}}`, "NAME      IMAGE ID\nx<y       ABC\n          0123456789AB\n"},
		{"json", `{"ID":"abc","Name":"x<y"}` + "\n" + `{"ID":"0123456789ab","Name":""}` + "\n"},
		{`{{.ID}}\t{{json .Name}}`, "abc\t\"x<y\"\n0123456789ab\t\"\"\n"},
		{"{{truncate .ID 4}}{{pad .Name 1 2}}|", "abc x<y  |\n0123|\n"},
		{`{{join (split .Name "<") "+"}}`, "x+y\n\n"},
		{"raw", "id: abc\nname: x<y\n\nid: 0123456789ab\nname:\n\n"},
	} {
		var b strings.Builder
		if err := l.Write(&b, test.format, rows); err != nil || b.String() != test.want {
			t.Errorf("%q: %v\n%q, want\n%q", test.format, err, b.String(), test.want)
		}
	}
	for _, format := range []string{"{{", "{{.Nothing}}", "{{nothing .ID}}", "table {{.Nothing}}"} {
		if err := l.Write(&strings.Builder{}, format, rows); !errors.As(err, new(*FormatError)) {
			t.Errorf("%q: %v", format, err)
		}
	}
}

func TestLabel(t *testing.T) {
	row := Row{"Labels": "a=b,authors=You, me,c="}
	for name, want := range map[string]string{"a": "b", "authors": "You, me", "c": "", "nothing": ""} {
		if got := row.Label(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// TestTemplate: a label that is not there is no mistake in the template, a field that no object has is.
func TestTemplate(t *testing.T) {
	value := struct{ Labels map[string]string }{map[string]string{"a": "b"}}
	var b strings.Builder
	if err := Template(&b, "{{.Labels.a}} {{.Labels.none}}", value); err != nil || b.String() != "b <no value>\n" {
		t.Errorf("%v, %q", err, b.String())
	}
	if err := Template(&b, "{{.Nothing}}", value); err == nil {
		t.Error("no error for a field that is not there")
	}
}

func TestCells(t *testing.T) {
	for got, want := range map[string]string{
		Size(-1):                    "?",
		Size(0):                     "0B",
		Size(1982475):               "1.98MB",
		FullSize(1982475):           "1.982MB",
		Since(time.Time{}):          "N/A",
		Shorten("abcdef", 4):        "abc…",
		Shorten("żółw", 4):          "żółw",
		Clean("a\tb\n\x1b[2Jc\x7f"): "a b ?[2Jc?",
		Clean("a\u202etxt.exe"):     "a?txt.exe",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := Since(time.Now().Add(-3 * time.Hour)); got != "3 hours ago" {
		t.Error(got)
	}
}
