package secret

import (
	"os"
	"path/filepath"
	"testing"
)

func TestMask(t *testing.T) {
	for _, test := range []struct{ name, secret, line, want string }{
		{"a token", "hunter2\n", "+ login hunter2 hunter2!", "+ login **** ****!"},
		{"one letter", "x", "x=1", "****=1"},
		{"empty", "\n", "all as it was", "all as it was"},
		{"a key", "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\nab\n-----END KEY-----\n", "got MIIEvQIBADANBgkq ab", "got **** ab"},
		{"settings", "//registry.example.org/:_authToken=npm_0123456789ab\nca=1\n", "token npm_0123456789ab, ca 1", "token ****, ca 1"},
		{"a whole line", "user=me\r\npassword=s3cr3t\r\n", "> password=s3cr3t", "> ****"},
		{"a carriage return", "hunter2\rhunter3", "hunter3", "****"},
		{"the longest counts", "abcdefghijklm\nabcdefghijklm-and-more", "abcdefghijklm-and-more", "****"},
		{"the end of one is the beginning of another", "abcdefgh\nefghijkl\nklmnop", "<abcdefghijklmnop>", "<****>"},
		{"one in another", "abcdefgh\ncdef", "<abcdefgh>", "<****>"},
		{"one after another", "hunter2", "hunter2hunter2", "********"},
		{"it covers itself", "abcab", "abcabcab", "****"},
	} {
		file := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(file, []byte(test.secret), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := NewStore([]Source{{ID: "id", File: file}, {ID: "other", File: file}})
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := s.Mask(test.line); got != test.line {
			t.Errorf("%s: before it is given: %q", test.name, got)
		}
		for _, id := range []string{"id", "other", "id"} {
			if _, _, err := s.Get(id); err != nil {
				t.Fatal(err)
			}
		}
		if got, _ := s.Mask(test.line); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
	var none *Store
	if got, length := none.Mask("x"); got != "x" || length != 0 {
		t.Errorf("without secrets: %q, %d", got, length)
	}
}
