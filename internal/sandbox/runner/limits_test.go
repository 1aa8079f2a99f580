package runner

import (
	"context"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestParseUlimit(t *testing.T) {
	for text, want := range map[string]Ulimit{
		"nofile=1024:4096": {"nofile", 1024, 4096},
		"nofile=1024":      {"nofile", 1024, 1024},
		"core=0:-1":        {"core", 0, math.MaxUint64},
		"memlock=-1":       {"memlock", math.MaxUint64, math.MaxUint64},
	} {
		got, err := ParseUlimit(text)
		if err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"nofile": "NAME=SOFT[:HARD]", "files=1": `no limit "files"; it is one of core, cpu`, "nofile=": "invalid syntax",
		"nofile=2:1": "less than or equal to hard limit", "nofile=-1:1": "less than or equal", "nofile=1:2:3": "too many",
		"nofile=-2": "not negative", "as=1": "no limit",
	} {
		if _, err := ParseUlimit(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func FuzzParseUlimit(f *testing.F) {
	for _, seed := range []string{"nofile=1024:4096", "core=-1", "cpu=1:0", "=", "nofile=1:2:3", "nofile=99999999999999999999"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		limit, err := ParseUlimit(text)
		if err != nil {
			return
		}
		if limit.Soft > limit.Hard {
			t.Errorf("%q: soft %d above hard %d", text, limit.Soft, limit.Hard)
		}
		if again, err := ParseUlimit(limit.String()); err != nil || again != limit {
			t.Errorf("%q: %s is read as %v, %v", text, limit, again, err)
		}
	})
}

// Where the kernel would only say EPERM, the error names the limit and what is possible.
func TestLimitAboveTheMachines(t *testing.T) {
	if hasCapability(unix.CAP_SYS_RESOURCE) {
		t.Skip("this process may raise limits")
	}
	var now unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &now))
	r := busyboxRoot(t, nil)
	code, err := Run(context.Background(), Spec{
		Rootfs: r.merged, StateDir: t.TempDir(), Args: []string{"true"},
		Machine: Machine{Ulimits: []Ulimit{{"nofile", 10, now.Max + 1}}},
	})
	if code != ExitSandbox || err == nil || !strings.Contains(err.Error(), "the limit nofile=10:") || !strings.Contains(err.Error(), "CAP_SYS_RESOURCE") {
		t.Errorf("exit code %d, %v", code, err)
	}
}

func TestParseHost(t *testing.T) {
	for text, want := range map[string][]Host{
		"Db:10.0.0.1":           {{"db", "10.0.0.1"}},
		"db=10.0.0.1":           {{"db", "10.0.0.1"}},
		"db:::1":                {{"db", "::1"}},
		"db=[::1]":              {{"db", "::1"}},
		"db=10.0.0.1,[2001::1]": {{"db", "10.0.0.1"}, {"db", "2001::1"}},
		"me:host-gateway":       {{"me", HostGateway}},
	} {
		got, err := ParseHost(text)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", text, err, diff)
		}
	}
	for _, text := range []string{"", "db", "db:", ":1.1.1.1", "db:1.1", "db=x", "a b=1.1.1.1", "a\n1.1.1.1 b=1.1.1.1", "db=1.1.1.1,", "#=1.1.1.1"} {
		if got, err := ParseHost(text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// Whatever is given, each host is one line of two words in /etc/hosts.
func FuzzParseHost(f *testing.F) {
	for _, seed := range []string{"a:1.2.3.4", "a=[::1],1.1.1.1", "a:host-gateway", "a=b=c", "\u00a0=::1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		hosts, err := ParseHost(text)
		if err != nil {
			return
		}
		lines := strings.Split(strings.TrimSuffix(hostsFile("h", hosts, NetworkBridge), "\n"), "\n")
		if len(lines) != 2+len(hosts) {
			t.Fatalf("%q: %q", text, lines)
		}
		for _, line := range lines[2:] {
			if len(strings.Fields(line)) != 2 || strings.Contains(line, "#") {
				t.Errorf("%q: %q", text, line)
			}
		}
	})
}
