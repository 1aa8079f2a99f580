package observed

import (
	"reflect"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
)

func view(t testing.TB, entries ...*layer.Entry) (*View, *layer.TOC) {
	t.Helper()
	toc, err := layer.NewTOC(entries)
	if err != nil {
		t.Fatal(err)
	}
	return NewView(toc), toc
}

func file(path, text string) *layer.Entry {
	return &layer.Entry{Path: path, Type: layer.File, Mode: 0o644, Size: int64(len(text)), Digest: digest.FromString(text)}
}

func dir(path string) *layer.Entry { return &layer.Entry{Path: path, Type: layer.Dir, Mode: 0o755} }

// ask records some questions, by path: "?" in front is a name that is not there.
func ask(t testing.TB, v *View, asked map[string]Questions) *Inputs {
	t.Helper()
	r := NewRecorder(v)
	for path, q := range asked {
		if q == Absent {
			parent, ok := v.Find(layer.Parent(path))
			if !ok {
				t.Fatalf("%s is nowhere", path)
			}
			r.Miss(parent, path[len(layer.Parent(path))+1:])
			continue
		}
		n, ok := v.Find(path)
		if !ok {
			t.Fatalf("%s is not there", path)
		}
		r.Ask(n, q)
	}
	return &Inputs{Trees: []Tree{r.Tree(digest.FromString("layer"), "")}}
}

func TestCompare(t *testing.T) {
	base := func() []*layer.Entry {
		return []*layer.Entry{dir("app"), file("app/a", "1"), file("app/b", "2"), dir("app/sub"), file("app/sub/c", "3")}
	}
	for _, test := range []struct {
		name  string
		asked map[string]Questions
		edit  func(all []*layer.Entry) []*layer.Entry
		want  string // "" for none
	}{
		{"another file", map[string]Questions{"app/a": Read}, func(all []*layer.Entry) []*layer.Entry { all[2] = file("app/b", "x"); return all }, ""},
		{"a time", map[string]Questions{"app/a": Read}, func(all []*layer.Entry) []*layer.Entry { all[1].ModTime = 7; return all }, ""},
		{"the file that was read", map[string]Questions{"app/a": Read}, func(all []*layer.Entry) []*layer.Entry { all[1] = file("app/a", "x"); return all },
			"/app/a, which it read, has changed"},
		{"a mode", map[string]Questions{"app": LookedUp}, func(all []*layer.Entry) []*layer.Entry { all[0].Mode = 0o700; return all },
			"/app, which it looked up, has changed"},
		{"contents of a file that was only looked up", map[string]Questions{"app/a": LookedUp},
			func(all []*layer.Entry) []*layer.Entry { all[1] = file("app/a", "x"); return all }, "/app/a, which it looked up, has changed"},
		{"a new file where it was listed", map[string]Questions{"app": Listed}, func(all []*layer.Entry) []*layer.Entry { return append(all, file("app/z", "")) },
			"/app, which it listed, has changed"},
		{"a new file elsewhere", map[string]Questions{"app": Listed}, func(all []*layer.Entry) []*layer.Entry { return append(all, file("app/sub/z", "")) }, ""},
		{"what it looked for", map[string]Questions{"app/z": Absent}, func(all []*layer.Entry) []*layer.Entry { return append(all, file("app/z", "")) },
			"/app/z, which it looked for, is there now"},
		{"a file that is gone", map[string]Questions{"app/sub/c": Read}, func(all []*layer.Entry) []*layer.Entry { return all[:4] }, "/app/sub/c, which it read, is gone"},
	} {
		t.Run(test.name, func(t *testing.T) {
			before, _ := view(t, base()...)
			in := ask(t, before, test.asked)
			_, after := view(t, test.edit(base())...)
			change, err := in.Compare([]Served{{digest.FromString("other"), func() (*layer.TOC, error) { return after, nil }}})
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if change != nil {
				got = change.String()
			}
			if got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

// What is folded is small, and counts for what it was.
func TestFold(t *testing.T) {
	entries := []*layer.Entry{dir("app"), file("app/x", "")}
	asked := map[string]Questions{}
	for _, d := range []string{"p", "q"} {
		entries = append(entries, dir("app/"+d))
		for i := range 200 {
			path := "app/" + d + "/" + string(rune('a'+i%26)) + string(rune('a'+i/26))
			entries = append(entries, file(path, path))
			if d == "p" || i%10 == 0 {
				asked[path] = Read
			}
		}
	}
	v, _ := view(t, entries...)
	in := ask(t, v, asked)
	in.Fold([]*View{v}, 1200)
	if size := len(in.Encode()); size > 1200 {
		t.Errorf("it takes %d bytes", size)
	}
	x := in.Trees[0].Inputs[0]
	if x.Path != "app/p" || x.Asked&Whole == 0 || len(in.Trees[0].Inputs) != 21 {
		t.Errorf("%d inputs, the first %v: the directory that was read is to be the one that is folded", len(in.Trees[0].Inputs), x)
	}
	if c := in.Trees[0].compare(v); c != nil {
		t.Error(c)
	}
}

func TestCodec(t *testing.T) {
	v, _ := view(t, dir("app"), file("app/a", "1"), file("app/ab", "2"))
	in := ask(t, v, map[string]Questions{"app/a": Read, "app/ab": LookedUp, "app/abc": Absent})
	in.Trees[0].Mount = "/src"
	got, err := Decode(in.Encode())
	if err != nil || !reflect.DeepEqual(in, got) {
		t.Errorf("%v: %+v, want %+v", err, got, in)
	}
}

// Nothing that a cache sends makes it panic, and what is read is written as it was.
func FuzzDecode(f *testing.F) {
	v, _ := view(f, dir("app"), file("app/a", "1"), file("app/ab", "2"))
	f.Add(ask(f, v, map[string]Questions{"app/a": Read, "app/abc": Absent, "app": Listed}).Encode())
	f.Add([]byte{version, 1, 0, 0, 0, 0, 1, 0, 1, 'a', 2})
	f.Fuzz(func(t *testing.T, data []byte) {
		in, err := Decode(data)
		if err != nil {
			return
		}
		again, err := Decode(in.Encode())
		if err != nil || !reflect.DeepEqual(in, again) {
			t.Errorf("%v: %+v, want %+v", err, again, in)
		}
		if _, err := in.Compare([]Served{{"x", func() (*layer.TOC, error) { return &layer.TOC{}, nil }}}); err != nil {
			t.Error(err)
		}
	})
}
