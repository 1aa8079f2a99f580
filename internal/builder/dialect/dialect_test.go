package dialect

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// No line of the program decides by which dialect it is: what differs is a policy.
func TestNobodyComparesDialects(t *testing.T) {
	compared := regexp.MustCompile(`[!=]= *\w*\.?(Classic|Graph)\b|case +\w*\.?(Classic|Graph)\(\)|[!=]= *"(classic|graph)"|\b[Cc]lassic bool`)
	root := filepath.Join("..", "..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for i, line := range strings.Split(string(data), "\n") {
			if compared.MatchString(line) {
				t.Errorf("%s:%d: %s\nadd a policy to package dialect and ask for that", path, i+1, strings.TrimSpace(line))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestNames(t *testing.T) {
	for _, d := range []Dialect{Graph(), Classic()} {
		if got, ok := Named(d.Name); !ok || got != d || Of(d.Name) != d {
			t.Errorf("%s: %v", d, got)
		}
	}
	if _, ok := Named(""); ok || Of("") != Graph() {
		t.Error("a name that is not known")
	}
}
