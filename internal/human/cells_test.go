package human

import "testing"

func TestQuoted(t *testing.T) {
	for path, want := range map[string]string{
		"":                     "",
		"/app/main.py":         "/app/main.py",
		"/a b/\"quoted\"\\":    "/a b/\"quoted\"\\",
		"/ in/the middle /x":   `"/ in/the middle /x"`,
		"blank ":               `"blank "`,
		"/größe/文件":            "/größe/文件",
		"/🦀":                   "/🦀",
		"/two\nlines":          `"/two\nlines"`,
		"/\x1b[31mred":         `"/\x1b[31mred"`,
		"/bell\a":              `"/bell\a"`,
		"/c1\u009b31m":         `"/c1\u009b31m"`,
		"/delete\x7f":          `"/delete\x7f"`,
		"/latin1\xe9":          `"/latin1\xe9"`,
		"/right\u202eto\u2066": `"/right\u202eto\u2066"`,
	} {
		if got := Quoted(path); got != want {
			t.Errorf("%q: %s, expected %s", path, got, want)
		}
	}
}
