package suggest

import "testing"

func TestNear(t *testing.T) {
	commands := []string{"build", "du", "diff", "run", "push", "pull", "login", "logout", "log", "tag", "ls"}
	variables := []string{"BUILDPLATFORM", "BUILDARCH", "TARGETARCH", "PATH"}
	for _, test := range []struct {
		word    string
		options []string
		want    string
	}{
		{"buidl", commands, "build"},
		{"biuld", commands, "build"},
		{"buld", commands, "build"},
		{"Build", commands, "build"},
		{"psuh", commands, "push"},
		{"sl", commands, "ls"},
		{"rn", commands, ""},
		{"ps", commands, ""},
		{"kill", commands, ""},
		{"network", commands, ""},
		{"b", commands, ""},
		{"", commands, ""},
		{"build", commands, ""},
		{"logni", commands, "login"},
		{"BULIDPLATFORM", variables, "BUILDPLATFORM"},
		{"TARGETARHC", variables, "TARGETARCH"},
		{"path", variables, "PATH"},
		{"HOME", variables, ""},
		{"MYARCH", []string{"MY_ARCH"}, "MY_ARCH"},
	} {
		if got := Near(test.word, test.options); got != test.want {
			t.Errorf("%q: %q, want %q", test.word, got, test.want)
		}
	}
	if got := DidYouMean("buidl", commands); got != " (did you mean build?)" {
		t.Errorf("%q", got)
	}
}
