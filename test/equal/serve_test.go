package equal

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/strata-build/strata/internal/builder/source/remote/remotetest"
)

// serve serves a folder of the context as long as the test goes on, and writes the server's address where SERVER
// stands.
func (c *buildCase) serve(t *testing.T, dir string) {
	root := filepath.Join(c.context, dir)
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServer(http.Dir(root)))
	mux.Handle("/git/", http.StripPrefix("/git", &remotetest.Git{Dir: filepath.Join(root, "git")}))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	for i := range c.args {
		c.args[i] = strings.ReplaceAll(c.args[i], "SERVER", server.URL)
	}
	c.source = strings.ReplaceAll(c.source, "SERVER", server.URL)
	err := filepath.WalkDir(c.context, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.HasPrefix(name, root) {
			return err
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return os.WriteFile(name, []byte(strings.ReplaceAll(string(data), "SERVER", server.URL)), 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}
