package runner

import "testing"

func TestOutside(t *testing.T) {
	for _, test := range []struct{ name, want string }{
		{"/proc", "/proc"},
		{"/proc/self/exe", "/proc/7/exe"},
		{"/proc/self", "/proc/7"},
		{"/proc/thread-self/comm", "/proc/7/task/7/comm"},
		{"/proc/mounts", "/proc/7/mounts"},
		{"/proc//self/./fd/../exe", "/proc/7/exe"},
		{"/proc/../etc/shadow", ""},
		{"/process", ""},
		{"/sys/fs/cgroup", "/sys/fs/cgroup"},
		{"/dev/fd/3", "/proc/7/fd/3"},
		{"/dev/stdout", "/proc/7/fd/1"},
		{"/dev/null", "/dev/null"},
		{"/dev/sda", ""},
		{"/dev/shm/x", ""},
		{"/etc/mtab", "/proc/7/mounts"},
		{"/etc/passwd", ""},
		{"proc/self", ""},
		{"", ""},
	} {
		got, ok := outside(test.name, 7)
		if got != test.want || ok != (test.want != "") {
			t.Errorf("%s: %q, %v; want %q", test.name, got, ok, test.want)
		}
	}
}
