package secret

import "testing"

func TestPasswordOf(t *testing.T) {
	for address, want := range map[string]string{
		"http://proxy:3128": "", "http://me@proxy:3128": "", "http://me:hunter2@proxy:3128/": "hunter2", "me:hunter%202@proxy": "hunter%202",
		"http://me:a@b:c@proxy": "a@b:c", "": "", "@": "",
		"http://0123456789ab@proxy": "0123456789ab", "http://0123456789ab:@proxy": "0123456789ab", "http://0123456789ab:x@proxy": "x",
	} {
		if got := passwordOf(address); got != want {
			t.Errorf("%q: %q, want %q", address, got, want)
		}
	}
}
