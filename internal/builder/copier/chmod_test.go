package copier

import (
	"testing"

	"github.com/strata-build/strata/internal/layer"
)

// The results are those of FreeBSD's chmod(1), whose grammar BuildKit takes, with a umask of 0.
func TestChmod(t *testing.T) {
	const file, dir, link = layer.File, layer.Dir, layer.Symlink
	for _, tt := range []struct {
		text   string
		kind   layer.Type
		before uint32
		want   uint32
		parent uint32
	}{
		{"", file, 0o4751, 0o4751, 0o755},
		{"0", file, 0o777, 0, 0},
		{"644", file, 0o4777, 0o644, 0o644},
		{"07777", dir, 0, 0o7777, 0o777},
		{"777", link, 0o777, 0o777, 0o777},
		{"600", link, 0o777, 0o777, 0o600},
		{"u=rwX,go=rX", file, 0o600, 0o644, 0o755},
		{"u=rwX,go=rX", file, 0o610, 0o755, 0o755},
		{"u=rwX,go=rX", dir, 0o700, 0o755, 0o755},
		{"+x", file, 0o644, 0o755, 0o755},
		{"-w", file, 0o666, 0o444, 0o755},
		{"a=", file, 0o777, 0, 0o755},
		{"=r", file, 0o731, 0o444, 0o755},
		{"g=u", file, 0o640, 0o660, 0o755},
		{"go=u-w", file, 0o700, 0o755, 0o755},
		{"o=g,g=", file, 0o750, 0o705, 0o755},
		{"u+s", file, 0o755, 0o4755, 0o755},
		{"g+s", dir, 0o755, 0o2755, 0o755},
		{"+t", dir, 0o777, 0o1777, 0o755},
		{"a-s", file, 0o6755, 0o755, 0o755},
		{"u=rw", file, 0o4755, 0o655, 0o755},
		{"u+rw-x", file, 0o100, 0o600, 0o755},
		{"+rX", file, 0o000, 0o444, 0o755},
	} {
		m, err := parseChmod(tt.text)
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		if got := m.of(&layer.Entry{Type: tt.kind, Mode: tt.before}); got != tt.want {
			t.Errorf("%s of %c %04o is %04o, want %04o", tt.text, tt.kind, tt.before, got, tt.want)
		}
		if got := m.parent(0o755); got != tt.parent {
			t.Errorf("%s of a directory on the way is %04o, want %04o", tt.text, got, tt.parent)
		}
	}
	for _, text := range []string{"8", "17777", "-1", "u", "u=y", "x=r", "u=r,", ",u=r", "u=r g=w", "0x1ff", "=r;"} {
		if m, err := parseChmod(text); err == nil {
			t.Errorf("%s is a mode: %+v", text, m)
		}
	}
}

// No text makes it panic or gives bits that a mode has not, and an octal mode does not mind what was there.
func FuzzChmod(f *testing.F) {
	for _, text := range []string{"644", "07777", "u=rwX,go=rX", "go=u-w", "+t", "a-s,o=", "u=g=o", "===", "+-+", "u=rwxXst,"} {
		f.Add(text, uint32(0o644))
	}
	f.Fuzz(func(t *testing.T, text string, before uint32) {
		m, err := parseChmod(text)
		if err != nil {
			return
		}
		for _, kind := range []layer.Type{layer.File, layer.Dir} {
			got := m.of(&layer.Entry{Type: kind, Mode: before & 0o7777})
			if got > 0o7777 || m != nil && m.changes == nil && got != m.octal {
				t.Errorf("%q of %04o is %o", text, before&0o7777, got)
			}
		}
	})
}
