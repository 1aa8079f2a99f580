package export

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/distribution/reference"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/strata-build/strata/internal/layer"
)

func TestParseSpec(t *testing.T) {
	yes, no, nine := true, false, 9
	epoch := time.Unix(1e9, 0).UTC()
	for text, want := range map[string]Spec{
		"out":                      {Kind: Local, Dest: "out"},
		"-":                        {Kind: Tar, Dest: "-"},
		"type=local,dest=out":      {Kind: Local, Dest: "out"},
		`"type=tar","dest=a,b"`:    {Kind: Tar, Dest: "a,b"},
		"TYPE=tar, Dest=x":         {Kind: Tar, Dest: "x"},
		"type=tar":                 {Kind: Tar, Dest: "-"},
		"type=oci":                 {Kind: OCI, Dest: "-"},
		"type=docker":              {Kind: Docker},
		"type=cacheonly":           {Kind: CacheOnly},
		"type=image,push=":         {Kind: ToImage, Push: true},
		"type=registry":            {Kind: ToImage, Push: true},
		"type=registry,push=false": {Kind: ToImage},
		"type=image,store=false,unpack=1,name-canonical=t": {Kind: ToImage, NotStored: true, Unpack: true, Canonical: true},
		"type=local,dest=o,mode=delete,platform-split=false,source-date-epoch=1000000000": {
			Kind: Local, Dest: "o", Files: Files{Delete: true, Split: &no}, Packing: Packing{Epoch: &epoch},
		},
		"type=oci,dest=d,tar=false,compression=estargz,compression-level=9,force-compression=true": {
			Kind: OCI, Dest: "d", Directory: true,
			Packing: Packing{Compression: layer.Gzip, Seekable: true, Level: &nine, Force: true},
		},
		"type=oci,compression-level=9,oci-mediatypes=true,rewrite-timestamp=false,buildinfo=true": {
			Kind: OCI, Dest: "-", Packing: Packing{Compression: layer.Gzip, Level: &nine, OCI: &yes, Rewrite: &no},
		},
		"type=image,annotation.Key=v,annotation-manifest-descriptor[linux/arm64].k=a=b": {
			Kind: ToImage, Packing: Packing{Annotations: annotations{
				{OnManifest, "", "Key", "v"}, {OnManifestDescriptor, "linux/arm64", "k", "a=b"},
			}},
		},
	} {
		got, err := ParseSpec(text)
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", text, err, diff)
		}
	}
	got, err := ParseSpec(`type=image,"name=a,docker.io/me/b:1"`)
	if err != nil || len(got.Names) != 2 || got.Names[1].String() != "docker.io/me/b:1" {
		t.Errorf("two names: %v, %v", got.Names, err)
	}
}

func TestParseSpecRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                                "it is empty",
		"dest=x,mode=copy":                "it needs a type",
		"type=":                           "it needs a type",
		"type=oci,dest":                   `"dest" is not NAME=VALUE`,
		"type=local,\"dest=x":             "quote",
		"type=local,dest=x\ntype=tar":     "more than one line",
		"type=nydus":                      "there is no such output",
		"type=image,dest=x":               "dest is not an attribute of it",
		"type=cacheonly,dest=x":           "dest is not an attribute of it",
		"type=tar,name=x":                 "name is not an attribute of it",
		"type=local,dest=x,annotation.a=": "annotation.a is not an attribute of it",
		"type=image,annotation-layer.a=b": "layer is not a type of annotations",
		"type=oci,compression=zstd,compression-level=23":          "it is 0 to 22",
		"type=oci,compression=gzip,compression-level=-1":          "it is 0 to 9",
		"type=oci,compression=uncompressed,compression-level=1":   "goes with gzip, estargz or zstd",
		"type=oci,compression-level=fast":                         "it is a number",
		"type=tar,source-date-epoch=9999999999999999":             "no year",
		"type=local,dest=a/../../../../../../../..//,mode=delete": "remove all files",
	} {
		if _, err := ParseSpec(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error with %q", text, err, want)
		}
	}
}

func TestAdd(t *testing.T) {
	image, docker, dir := Spec{Kind: ToImage}, Spec{Kind: Docker}, Spec{Kind: Local, Dest: "out"}
	pushed := Spec{Kind: ToImage, Push: true}
	file := Spec{Kind: Docker, Dest: "x.tar"}
	for _, test := range []struct {
		specs      []Spec
		push, load bool
		want       []Spec
	}{
		{nil, false, false, nil},
		{nil, true, false, []Spec{pushed}},
		{nil, false, true, []Spec{docker}},
		{nil, true, true, []Spec{pushed}}, // which the store has too
		{[]Spec{image}, true, false, []Spec{pushed}},
		{[]Spec{dir}, true, true, []Spec{dir, pushed}},
		{[]Spec{dir}, false, true, []Spec{dir, docker}},
		{[]Spec{file}, false, true, []Spec{file, docker}},
		{[]Spec{docker}, false, true, []Spec{docker}},
	} {
		if diff := cmp.Diff(test.want, Add(test.specs, test.push, test.load), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", test, diff)
		}
	}
}

func TestCheck(t *testing.T) {
	name, err := reference.ParseNormalizedNamed("x")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		specs []Spec
		tags  []reference.Named
		want  string
	}{
		{[]Spec{{Kind: ToImage, Push: true}}, nil, "needs a name"},
		{[]Spec{{Kind: ToImage, Push: true}}, []reference.Named{name}, ""},
		{[]Spec{{Kind: ToImage, Push: true, Names: []reference.Named{name}}}, nil, ""},
		{[]Spec{{Kind: ToImage, ByDigest: true}}, []reference.Named{name}, "goes with push=true"},
		{[]Spec{{Kind: OCI, Dest: "-"}, {Kind: Tar, Dest: "-"}}, nil, "several outputs go to standard output"},
	} {
		err := Check(test.specs, test.tags)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %q", test.specs, err, test.want)
		}
	}
}

func TestParseAnnotation(t *testing.T) {
	for text, want := range map[string][]Annotation{
		"a=b":                              {{OnManifest, "", "a", "b"}},
		"a=b=c:d":                          {{OnManifest, "", "a", "b=c:d"}},
		"index:a=":                         {{OnIndex, "", "a", ""}},
		"manifest[linux/arm/v7],index:a=b": {{OnManifest, "linux/arm/v7", "a", "b"}, {OnIndex, "", "a", "b"}},
	} {
		got, err := ParseAnnotation(text)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", text, err, diff)
		}
	}
	for text, want := range map[string]string{
		"a": "KEY=VALUE", "=b": "no key", "index:=b": "no key", "layer:a=b": "not a type of annotations", "[x]:a=b": "is not a type",
	} {
		if _, err := ParseAnnotation(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error with %q", text, err, want)
		}
	}
}

// FuzzParseSpec has the reader of --output take anything: it must not panic, and what it takes must make sense.
func FuzzParseSpec(f *testing.F) {
	for _, seed := range []string{
		"out", "-", "type=local,dest=out,mode=delete", `type=image,"name=a,b",push=true`, "type=oci,tar=false,dest=x",
		"type=registry,compression=zstd,compression-level=19", "type=docker,annotation-index[linux/arm64].a=b", "type=tar,\"", "type=",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSpec(text)
		if err != nil {
			return
		}
		switch {
		case s.attributes() == nil:
			t.Errorf("%q: an output of the kind %q", text, s.Kind)
		case (s.Kind == Local || s.Directory) && (s.Dest == "" || s.Dest == "-"):
			t.Errorf("%q: a directory without a name", text)
		case s.Level != nil && (*s.Level < 0 || *s.Level > 22 || s.Compression == layer.None):
			t.Errorf("%q: level %d of %q", text, *s.Level, s.Compression)
		}
	})
}

// FuzzParseAnnotation has the reader of --annotation take anything.
func FuzzParseAnnotation(f *testing.F) {
	for _, seed := range []string{"a=b", "index:a=b", "manifest[linux/arm64],index:a=b", ":=", "[", "manifest[]:a=b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		all, err := ParseAnnotation(text)
		if err != nil {
			return
		}
		for _, a := range all {
			if a.Key == "" || a.check() != nil {
				t.Errorf("%q: %+v", text, a)
			}
		}
	})
}

// mode=delete is for what lies below the working directory, wherever links lead.
func TestCheckDelete(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	for _, path := range []string{"here/sub", "here/inner", "elsewhere"} {
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"here/out": "../elsewhere", "here/in": "inner", "here/nowhere": "missing", "here/up": "."} {
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir("here")
	for dest, want := range map[string]bool{
		"sub": true, "new/deeper": true, "sub/../sub": true, "in": true, "in/new": true, filepath.Join(dir, "here", "sub"): true,
		".": false, "..": false, "../elsewhere": false, "out": false, "out/new": false, "nowhere": false, "up": false, "up/sub": true,
		"/": false, "/nonesuch": false, filepath.Join(dir, "here"): false,
	} {
		err := CheckDelete([]Spec{{Kind: Local, Dest: "/"}, {Kind: Local, Dest: dest, Files: Files{Delete: true}}})
		if (err == nil) != want {
			t.Errorf("%s: %v", dest, err)
		}
	}
}
