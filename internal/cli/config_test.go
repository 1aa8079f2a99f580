package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A setting that is not known is named with its line, and the others count.
func TestUnknownKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.toml")
	t.Setenv("STRATA_CONFIG", path)
	if err := os.WriteFile(path, []byte("cache-size-limit = \"1GB\"\ncache-limit = \"2GB\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := unknownKeys()
	if len(got) != 1 || !strings.Contains(got[0], "config.toml:2: there is no setting cache-limit") {
		t.Errorf("unknown keys: %q", got)
	}
	if limit, err := cacheLimit(); limit != 1e9 || err != nil {
		t.Errorf("the limit is %d, %v", limit, err)
	}
}

// The proxies of docker's config.json are variables in both cases.
func TestProxyVariables(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("DOCKER_CONFIG", dir)
	text := `{"proxies": {"default": {"httpsProxy": "http://p:1"}, "tcp://other:1": {"httpProxy": "http://q:1"}}}`
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := (&app{stderr: os.Stderr}).readDockerConfig()
	got := c.proxyVariables()
	if len(got) != 2 || got["HTTPS_PROXY"] != "http://p:1" || got["https_proxy"] != "http://p:1" {
		t.Errorf("variables: %v", got)
	}
}

func TestPluginArgs(t *testing.T) {
	for _, test := range []struct{ program, args, want string }{
		{"/usr/bin/strata", "strata images", "strata images"},
		{"/x/docker-buildx", "-D buildx build .", "-D buildx build ."},
		{"/x/docker-strata", "--config d strata images strata", "--config d images strata"},
		{"docker-strata", "docker-cli-plugin-metadata", "docker-cli-plugin-metadata"},
	} {
		if got := strings.Join(pluginArgs(test.program, strings.Fields(test.args)), " "); got != test.want {
			t.Errorf("%s %s: %s, want %s", test.program, test.args, got, test.want)
		}
	}
}
