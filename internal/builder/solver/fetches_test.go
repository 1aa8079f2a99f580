package solver

import (
	"testing"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/sandbox/runner"
)

func TestFetches(t *testing.T) {
	on := func(n runner.Network) *Solver { return New(nil, Config{Sandbox: Sandbox{Network: n}}) }
	for script, want := range map[string]bool{
		"pip install -r requirements.txt":                     true,
		"/usr/local/bin/pip3.11 --no-cache-dir install flask": true,
		"python3 -m pip install --upgrade pip":                true,
		"pip install --no-index --find-links /wheels flask":   false,
		"pip --version": false,
		"pip list":      false,
		"apt-get update && apt-get install -y curl":        true,
		"apt-get -o Acquire::Retries=3 install x":          true,
		"DEBIAN_FRONTEND=noninteractive apt-get install x": true,
		"apt-get clean": false,
		"apt-get purge -y x && rm -rf /var/lib/apt/lists":           false,
		"apk add --no-cache git":                                    true,
		"set -eux; if true; then curl -fsSL https://x | tar xz; fi": true,
		"curl --version":                                       false,
		"busybox wget -O /x http://127.0.0.1/":                 true,
		"git clone https://github.com/a/b":                     true,
		"git -C /src pull":                                     true,
		"git init && git add . && git commit -m 'pip install'": false,
		"echo 'curl https://x' >/script":                       false,
		"echo \"a; wget x\"":                                   false,
		"echo wget":                                            false,
		"X=$(curl https://x) && echo $X":                       true,
		"npm ci":                                               true,
		"npm run build":                                        false,
		"yarn":                                                 true,
		"yarn build":                                           false,
		"yarn --frozen-lockfile":                               true,
		"go mod download":                                      true,
		"go build ./...":                                       false,
		"make":                                                 false,
		"":                                                     false,
		"apt-get \\\n update":                                  true,
		"true\nwget http://x/y":                                true,
		"command -v curl":                                      false,
		"which curl":                                           false,
		"./gradlew assemble":                                   true,
		"cargo build --offline":                                false,
	} {
		step := &dockerfile.Step{Run: &dockerfile.Run{Args: []string{"/bin/sh", "-c", script}, Shell: true}}
		expected := ""
		if want {
			expected = cache.Inferred
		}
		if got := on(runner.NetworkHost).fetches(step); got != expected {
			t.Errorf("%q: %q, want %q", script, got, expected)
		}
		if got := on(runner.NetworkNone).fetches(step); got != "" {
			t.Errorf("%q without a network: %q", script, got)
		}
	}
	exec := &dockerfile.Step{Run: &dockerfile.Run{Args: []string{"wget", "http://x"}}}
	if on(runner.NetworkHost).fetches(exec) == "" {
		t.Error("the exec form of wget does not fetch")
	}
	if on("").fetches(&dockerfile.Step{Copy: &dockerfile.Copy{}}) != "" {
		t.Error("a COPY fetches")
	}
}
