package artifact

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/cache"
)

func encoded(t testing.TB) (steps []cache.Step, config []byte, layers []ocispec.Descriptor) {
	t.Helper()
	diffID, blob := digest.FromString("layer"), digest.FromString("blob")
	for _, text := range []string{"RUN make", "RUN true"} {
		k := &cache.Key{Kind: "RUN"}
		k.Add(cache.PartArg, text)
		r := &cache.Record{Created: time.Unix(1e9, 5).UTC(), Took: time.Second, Instruction: text, Origin: "elsewhere"}
		if text == "RUN make" {
			r.Layer = diffID
		}
		steps = append(steps, cache.NewStep(k, r))
	}
	layers = []ocispec.Descriptor{{Digest: blob, Size: 4}}
	conf, _, err := Encode(steps, []digest.Digest{diffID}, layers)
	if err != nil {
		t.Fatal(err)
	}
	return steps, conf.Data, layers
}

func TestEncode(t *testing.T) {
	steps, config, layers := encoded(t)
	rs, err := Decode("me/app:cache", config, layers)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range steps {
		want := *step.Record
		want.Origin = "me/app:cache"
		got, err := rs.Get(step.Key)
		if diff := cmp.Diff(&want, got); diff != "" || err != nil {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	}
	if got := rs.Blobs[steps[0].Record.Layer].Digest; got != layers[0].Digest {
		t.Errorf("the layer's blob is %q", got)
	}
}

// The cache may have a step without its layer.
func TestEncodeKeyOnly(t *testing.T) {
	steps, _, _ := encoded(t)
	steps[0].KeyOnly = true
	config, manifest, err := Encode(steps, nil, nil)
	if err != nil || bytes.Contains(manifest.Data, []byte(digest.FromString("blob"))) {
		t.Fatalf("%v, %s", err, manifest.Data)
	}
	rs, err := Decode("c", config.Data, nil)
	if err != nil || rs.Len() != len(steps) {
		t.Fatalf("%v, %v", rs, err)
	}
	if want := []digest.Digest{steps[0].Record.Layer}; !slices.Equal(rs.absent, want) || len(rs.Blobs) != 0 {
		t.Errorf("layers that are not in the cache: %v, want %v; in it: %v", rs.absent, want, rs.Blobs)
	}
}

func TestDecodeOfOthers(t *testing.T) {
	_, config, layers := encoded(t)
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
			rs, err := Decode("c", test.config, test.layers)
			if err != nil || rs.Len() != test.want {
				t.Errorf("%v, %v, want %d records", rs, err, test.want)
			}
		})
	}
	if _, err := Decode("c", []byte("<html>"), nil); err == nil {
		t.Error("a web page is a cache")
	}
}

// Nothing that a registry sends as a cache makes it panic, or gives a record under a key that is not its own.
func FuzzDecode(f *testing.F) {
	_, config, _ := encoded(f)
	f.Add(config)
	f.Add([]byte(`{"records":[null,{"record":null},{"record":{"took":-1}}]}`))
	f.Fuzz(func(t *testing.T, config []byte) {
		rs, err := Decode("c", config, []ocispec.Descriptor{{Digest: digest.FromString("blob"), Size: 4}})
		if err != nil {
			return
		}
		for key, r := range rs.byKey {
			if (&cache.Key{Kind: r.Kind, Parts: r.Parts}).Digest() != key {
				t.Errorf("%s is not the key of %v", key, r.Parts)
			}
		}
	})
}
