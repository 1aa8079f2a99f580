package runner

import "testing"

func TestLimitsSet(t *testing.T) {
	var l Limits
	for _, kv := range [][2]string{
		{"memory", "64m"}, {"memory-swap", "-1"}, {"cpu-shares", "512"}, {"cpu-period", "100000"}, {"cpu-quota", "50000"},
		{"cpuset-cpus", "0-1,3"}, {"cpuset-mems", "0"},
	} {
		if err := l.Set(kv[0], kv[1]); err != nil {
			t.Errorf("%s=%s: %v", kv[0], kv[1], err)
		}
	}
	want := Limits{64 << 20, -1, 512, 100000, 50000, "0-1,3", "0"}
	if l != want {
		t.Errorf("%+v, want %+v", l, want)
	}
	for _, kv := range [][2]string{
		{"memory", "much"}, {"memory", "0"}, {"memory", "-1"}, {"memory-swap", "0"}, {"cpu-shares", "-1"}, {"cpu-quota", "0"},
		{"cpu-period", "x"}, {"cpuset-cpus", "3-1"}, {"cpuset-cpus", "0,,1"}, {"cpuset-mems", "a"}, {"disk", "1"},
	} {
		if err := l.Set(kv[0], kv[1]); err == nil {
			t.Errorf("%s=%s was taken", kv[0], kv[1])
		}
	}
}
