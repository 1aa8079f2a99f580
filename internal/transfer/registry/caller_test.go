package registry

import (
	"os"
	"testing"
)

// Under sudo the login of the caller counts, unless a directory is named.
func TestCallerConfig(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("sudo makes root of its caller")
	}
	t.Setenv("DOCKER_CONFIG", "")
	for _, test := range []struct{ caller, config, want string }{
		{"", "", ""},
		{"root", "", ""},
		{"nobody", "", "/nonexistent/.docker"},
		{"nobody", "/named", ""},
		{"no such user", "", ""},
	} {
		t.Setenv("SUDO_USER", test.caller)
		t.Setenv("DOCKER_CONFIG", test.config)
		if got := callerConfig(); got != test.want {
			t.Errorf("SUDO_USER=%s DOCKER_CONFIG=%s: %q, want %q", test.caller, test.config, got, test.want)
		}
	}
}
