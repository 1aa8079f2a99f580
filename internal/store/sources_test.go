package store

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// What is kept of URLs and repositories counts for the limit, and what was not used for the longest time goes first,
// before and after layers.
func TestLimitTakesSources(t *testing.T) {
	l := &limited{Store: open(t, t.TempDir()), t: t, layers: map[string]digest.Digest{}}
	source := func(kind, name string, ago time.Duration) string {
		dir, err := l.KeepSource(kind, name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "bytes"), []byte(strings.Repeat("x", 40_000)), 0o600); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(-ago)
		if err := os.Chtimes(dir, at, at); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	oldest := source("downloads", "oldest", 5*time.Hour)
	l.record("a", 4*time.Hour)
	old := source("git", "old", 3*time.Hour)
	l.record("b", 2*time.Hour)
	young := source("downloads", "young", time.Hour)
	all, err := l.CacheSize(PruneOptions{All: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		leave int // of five
		want  string
	}{{5, "oldest a old b young"}, {4, "a old b young"}, {2, "b young"}, {1, "young"}, {0, ""}} {
		if _, err := l.Limit(all*int64(step.leave)/5+int64(min(step.leave, 1))*15_000, PruneOptions{All: true}); err != nil {
			t.Fatal(err)
		}
		var here []string
		for _, name := range []string{"oldest", "a", "old", "b", "young"} {
			switch name {
			case "a", "b":
				if strings.Contains(l.here(), name) {
					here = append(here, name)
				}
			default:
				if _, err := os.Stat(map[string]string{"oldest": oldest, "old": old, "young": young}[name]); err == nil {
					here = append(here, name)
				}
			}
		}
		if got := strings.Join(here, " "); got != step.want {
			t.Errorf("%d of five: %q, want %q", step.leave, got, step.want)
		}
	}
}
