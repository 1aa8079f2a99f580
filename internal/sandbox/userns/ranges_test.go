package userns

import (
	"os"
	"path/filepath"
	"testing"
)

func TestMapping(t *testing.T) {
	for _, test := range []struct{ name, file, want string }{
		{"one range", "me:100000:65536\n", "0 1000 1 1 100000 65536"},
		{"by number", "1000:100000:65536\n", "0 1000 1 1 100000 65536"},
		{"of others", "you:1:99999\nme:100000:65536\nmee:1:99999\n", "0 1000 1 1 100000 65536"},
		{"two ranges, one of them twice", "me:100000:40000\nme:300000:40000\n1000:100000:40000\n", "0 1000 1 1 100000 40000 40001 300000 40000"},
		{"too few", "me:100000:1000\n", ""},
		{"not a range", "me:100000\nme:x:65536\nme:1:2:3\nme:5:0\n\n", ""},
	} {
		file := filepath.Join(t.TempDir(), "subuid")
		if err := os.WriteFile(file, []byte(test.file), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := mapping(file, "me", 1000, 1000)
		if got != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%s: %q, %v; want %q", test.name, got, err, test.want)
		}
	}
	if _, err := mapping(filepath.Join(t.TempDir(), "none"), "me", 1000, 1000); err == nil {
		t.Error("a file that is not there gives IDs")
	}
}
