package buildcontext

import "testing"

// FuzzRules reads any bytes as a .dockerignore. What is taken can be matched without an error, and the rule that is
// blamed for a path is there where the path is excluded.
func FuzzRules(f *testing.F) {
	f.Add([]byte("*.o\n!keep.o\n# c\n\n/a/**/b"), "a/x/b")
	f.Add([]byte("\xef\xbb\xbf[a-\n!"), "a")
	f.Add([]byte("**\n!a\n**/[^b]*?\\"), "a/b")
	f.Fuzz(func(t *testing.T, data []byte, path string) {
		r, err := parseRules(".dockerignore", data)
		if err != nil || len(r.list) > 50 {
			return
		}
		if _, _, err := r.matcher().match(path, matchInfo{}); err != nil {
			t.Fatalf("%q of %q: %v", path, data, err)
		}
		if rule, excluded := r.excludedBy(path); excluded && rule == (Rule{}) {
			t.Errorf("%q of %q is excluded by nothing", path, data)
		}
	})
}
