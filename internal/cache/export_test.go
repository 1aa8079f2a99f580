package cache

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func exportedFor(t testing.TB) (steps []Step, config []byte, layers []ocispec.Descriptor) {
	t.Helper()
	diffID, blob := digest.FromString("layer"), digest.FromString("blob")
	for _, text := range []string{"RUN make", "RUN true"} {
		k := &Key{Kind: "RUN"}
		k.Add(PartArg, text)
		r := &Record{Created: time.Unix(1e9, 5).UTC(), Took: time.Second, Instruction: text, Origin: "elsewhere"}
		if text == "RUN make" {
			r.Layer = diffID
		}
		steps = append(steps, NewStep(k, r))
	}
	config, err := Export(steps, map[digest.Digest]digest.Digest{diffID: blob})
	if err != nil {
		t.Fatal(err)
	}
	return steps, config, []ocispec.Descriptor{{Digest: blob, Size: 4}}
}

func TestExport(t *testing.T) {
	steps, config, layers := exportedFor(t)
	s, blobs, err := FromExport("me/app:cache", config, layers)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range steps {
		want := *step.Record
		want.Origin = "me/app:cache"
		if diff := cmp.Diff(&want, s.Lookup(step.Key)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	if got := blobs[steps[0].Record.Layer].Digest; got != layers[0].Digest {
		t.Errorf("the layer's blob is %q", got)
	}
}

func TestExportOfOthers(t *testing.T) {
	_, config, layers := exportedFor(t)
	for _, test := range []struct {
		name   string
		config []byte
		layers []ocispec.Descriptor
		want   int // records that remain
	}{
		{"another instruction under the key", bytes.Replace(config, []byte(`"v":"RUN make"`), []byte(`"v":"RUN rm -r"`), 1), layers, 1},
		{"a layer that the manifest has not", config, nil, 1},
		{"no digest for a layer", bytes.Replace(config, []byte(digest.FromString("layer")), []byte("../../etc"), 1), layers, 1},
		{"nothing", []byte(`{"records":[{},{"key":"x"}]}`), layers, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, _, err := FromExport("c", test.config, test.layers)
			if err != nil || s.Len() != test.want {
				t.Errorf("%v, %v, want %d records", s, err, test.want)
			}
		})
	}
	if _, _, err := FromExport("c", []byte("<html>"), nil); err == nil {
		t.Error("a web page is a cache")
	}
}

// Nothing that a registry sends as a cache makes it panic, or gives a record under a key that is not its own.
func FuzzFromExport(f *testing.F) {
	_, config, _ := exportedFor(f)
	f.Add(config)
	f.Add([]byte(`{"records":[null,{"record":null},{"record":{"took":-1}}]}`))
	f.Fuzz(func(t *testing.T, config []byte) {
		s, _, err := FromExport("c", config, []ocispec.Descriptor{{Digest: digest.FromString("blob"), Size: 4}})
		if err != nil {
			return
		}
		for key, r := range s.records {
			if (&Key{r.Kind, r.Parts}).Digest() != key {
				t.Errorf("%s is not the key of %v", key, r.Parts)
			}
		}
	})
}
