package inventory

import (
	"strings"
	"testing"
	"time"

	"github.com/distribution/reference"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/internal/store/db/dbtest"
)

func openStore(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// put adds an image or step that was created n minutes after a fixed time.
func put(t *testing.T, s *store.Store, n int, parent digest.Digest, kind store.Kind, names ...string) digest.Digest {
	t.Helper()
	at := time.Date(2026, 1, 1, 0, n, 0, 0, time.UTC)
	c := &image.Config{}
	c.Created = &at
	c.Config.Labels = map[string]string{"n": string(rune('0' + n))}
	data, err := image.Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	id, err := s.PutConfig(data, parent, kind)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		ref, err := reference.ParseNormalizedNamed(n)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.SetName(ref, id, ""); err != nil {
			t.Fatal(err)
		}
	}
	return id
}

func TestList(t *testing.T) {
	s := openStore(t)
	base := put(t, s, 0, "", store.Image)
	step := put(t, s, 1, base, store.Step)
	put(t, s, 2, step, store.Image, "me/app:1", "me/app:2", "localhost:5000/x")
	put(t, s, 3, "", store.Image)
	put(t, s, 4, "", store.Image, "other")
	for _, test := range []struct {
		all     bool
		filters []string
		want    string // minutes of the images
	}{
		{false, nil, "4 3 2"},
		{true, nil, "4 3 2 1 0"},
		{false, []string{"dangling=true"}, "3"},
		{true, []string{"dangling=true"}, "3"},
		{false, []string{"dangling=false"}, "4 2"},
		{false, []string{"label=n"}, "4 3 2"},
		{false, []string{"label=n=3"}, "3"},
		{false, []string{"label!=n=3"}, "4 2"},
		{false, []string{"before=other"}, "3 2"},
		{false, []string{"since=me/app:1"}, "4 3"},
		{false, []string{"until=2026-01-01T00:03:00Z"}, "2"},
		{false, []string{"reference=me/app"}, "2"},
		{false, []string{"reference=me/*:2"}, "2"},
		{false, []string{"reference=localhost:5000/*"}, "2"},
		{false, []string{"reference=*"}, "4"},
		{false, []string{"reference=nothing", "reference=other"}, "4"},
	} {
		f, err := ParseFilter(s, test.filters, "dangling", "label", "before", "since", "reference", "until")
		if err != nil {
			t.Errorf("%v: %v", test.filters, err)
			continue
		}
		images, err := List(s, test.all, f)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, img := range images {
			got = append(got, img.Config.Config.Labels["n"])
		}
		if diff := cmp.Diff(test.want, strings.Join(got, " ")); diff != "" {
			t.Errorf("all %t, %v: %s", test.all, test.filters, diff)
		}
	}
	for _, bad := range []string{"", "dangling", "dangling=perhaps", "dangling!=true", "nothing=x", "before=nothing", "until=soon", "reference=[", "=x"} {
		if _, err := ParseFilter(s, []string{bad}, "dangling", "label", "before", "since", "reference", "until"); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestParseTime(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"1h30m":                now.Add(-90 * time.Minute),
		"0":                    time.Unix(0, 0),
		"1700000000":           time.Unix(1700000000, 0),
		"2026-01-31T10:00:00Z": time.Date(2026, 1, 31, 10, 0, 0, 0, time.UTC),
		"2026-01-31":           time.Date(2026, 1, 31, 0, 0, 0, 0, time.Local),
	} {
		got, err := parseTime(text, now)
		if text == "0" {
			want = now // a duration of nothing
		}
		if err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, %v; want %v", text, got, err, want)
		}
	}
}

func TestRemove(t *testing.T) {
	s := openStore(t)
	base := put(t, s, 0, "", store.Image, "base")
	step := put(t, s, 1, base, store.Step)
	app := put(t, s, 2, step, store.Image, "me/app:1", "me/app:2", "other")
	dbtest.Tick()
	for _, text := range []string{"nothing", string(app), string(step)} {
		if r, err := Remove(s, text, false); err == nil {
			t.Errorf("%s was removed: %+v", text, r)
		}
	}
	steps := []struct {
		text string
		want Removed
	}{
		{"base", Removed{Untagged: []string{"base:latest"}}},
		{"other", Removed{Untagged: []string{"other:latest"}}},
		// Names in one repository do not hold the image that is meant by its ID.
		{app.Encoded()[:12], Removed{Untagged: []string{"me/app:1", "me/app:2"}, Deleted: []digest.Digest{app, base, step}}},
	}
	for _, st := range steps {
		r, err := Remove(s, st.text, false)
		if err != nil {
			t.Fatalf("%s: %v", st.text, err)
		}
		if len(r.Deleted) > 1 {
			// The image comes first; the order of the steps says nothing.
			if r.Deleted[0] != st.want.Deleted[0] || len(r.Deleted) != len(st.want.Deleted) {
				t.Errorf("%s: deleted %v", st.text, r.Deleted)
			}
			r.Deleted = st.want.Deleted
		}
		if diff := cmp.Diff(st.want, *r); diff != "" {
			t.Errorf("%s: %s", st.text, diff)
		}
	}
}
