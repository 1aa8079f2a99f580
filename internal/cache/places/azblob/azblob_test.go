package azblob_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/cache/places"
	"github.com/strata-build/strata/internal/cache/places/azblob"
	"github.com/strata-build/strata/internal/cache/places/bucket"
	"github.com/strata-build/strata/internal/cache/places/placetest"
	"github.com/strata-build/strata/internal/transfer"
)

func spec(url string) places.Spec {
	return places.Spec{Type: "azblob", Ref: "test", Attr: map[string]string{
		"account_url": url + "/" + placetest.AzureAccount, "account_name": placetest.AzureAccount, "container": "test", "prefix": "ci",
		"secret_access_key": placetest.AzureKey,
	}}
}

func site(url string) *placetest.Site {
	return &placetest.Site{
		Machine: func(t *testing.T) *transfer.Mover { return placetest.Machine(t, *azblob.Kind.Blobs) },
		Open: func(_ *testing.T, m *transfer.Mover) (cache.Place, error) {
			return azblob.Kind.Create(m, spec(url))
		},
		Merges: true, Shares: true,
	}
}

func TestPlace(t *testing.T) {
	placetest.Test(t, func(t *testing.T) *placetest.Site {
		server, _ := placetest.StartAzure(t)
		s := site(server.URL)
		s.DamageLayers, s.DamageRecords = server.Damage("/blobs/"), server.Damage("/records/", "/names/", "/weak/", "/mounts/")
		return s
	})
}

func TestFaults(t *testing.T) {
	server, _ := placetest.StartAzure(t)
	placetest.Faults(t, server, site(server.URL))
}

// A shared access signature of the environment does as well, and is in no error and no location.
func TestSharedAccessSignature(t *testing.T) {
	server, _ := placetest.StartAzure(t)
	t.Setenv("AZURE_STORAGE_SAS_TOKEN", "?"+placetest.AzureSAS)
	sp := spec(server.URL)
	delete(sp.Attr, "secret_access_key")
	m := placetest.Machine(t, *azblob.Kind.Blobs)
	p, err := azblob.Kind.Create(m, sp)
	if err == nil {
		err = p.Put(t.Context(), placetest.Steps(t, m, "a"))
	}
	if err != nil {
		t.Fatal(err)
	}
	server.Fail(func(w http.ResponseWriter, _ *http.Request) bool { panic(http.ErrAbortHandler) })
	if _, err := azblob.Kind.Open(t.Context(), m, sp, placetest.Platform); err == nil || strings.Contains(err.Error(), "sig=") {
		t.Errorf("the error of a server that is gone: %v", err)
	}
	server.Fail(nil)
	t.Setenv("AZURE_STORAGE_SAS_TOKEN", "sv=1&sig=other")
	if _, err := azblob.Kind.Open(t.Context(), placetest.Machine(t), sp, placetest.Platform); err == nil || !strings.Contains(err.Error(), "AuthenticationFailed") {
		t.Errorf("another signature: %v", err)
	}
}

// A large blob goes in blocks. Those that were sent when the line broke are not sent again.
func TestResume(t *testing.T) {
	server, blocks := placetest.StartAzure(t)
	o, err := azblob.New(spec(server.URL))
	if err != nil {
		t.Fatal(err)
	}
	data := bytes.Repeat([]byte("0123456789abcdef"), (4*bucket.Small+100)/16)
	for i := range data[:len(data)/bucket.Small*bucket.Small] {
		data[i] ^= byte(i / bucket.Small) // so that no two blocks are the same
	}
	if _, err := o.Put(t.Context(), "small", 1, strings.NewReader("x"), bucket.Expect{}); err != nil {
		t.Fatal(err)
	}
	var puts atomic.Int32
	server.Fail(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Get("comp") == "block" && puts.Add(1) > 2 {
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusForbidden)
			return true
		}
		return false
	})
	put := func(expect bucket.Expect) error {
		_, err := o.Put(t.Context(), "large", int64(len(data)), bytes.NewReader(data), expect)
		return err
	}
	if err := put(bucket.Expect{}); err == nil {
		t.Fatal("the blob was put whole")
	}
	if _, err := o.Stat(t.Context(), "large"); !errors.Is(err, bucket.ErrNoObject) {
		t.Errorf("half of a blob is there: %v", err)
	}
	server.Fail(nil)
	before := blocks()
	if err := put(bucket.Expect{Nothing: true}); err != nil {
		t.Fatal(err)
	}
	if n := blocks() - before; n != 3 {
		t.Errorf("%d blocks were sent the second time, want 3 of 5", n)
	}
	if err := put(bucket.Expect{Nothing: true}); !errors.Is(err, bucket.ErrChanged) {
		t.Errorf("where there is one: %v", err)
	}
	r, _, err := o.Open(context.Background(), "large", 7)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, data[7:]) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// A conflict that is no other writer's says what it is.
func TestConflict(t *testing.T) {
	server, _ := placetest.StartAzure(t)
	o, err := azblob.New(spec(server.URL))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		status  int
		code    string
		changed bool
	}{
		{http.StatusConflict, "BlobAlreadyExists", true},
		{http.StatusPreconditionFailed, "ConditionNotMet", true},
		{http.StatusConflict, "ContainerBeingDeleted", false},
		{http.StatusConflict, "BlobImmutableDueToPolicy", false},
	} {
		server.Fail(func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("X-Ms-Error-Code", test.code)
			w.WriteHeader(test.status)
			return true
		})
		_, err := o.Put(t.Context(), "name", 1, strings.NewReader("x"), bucket.Expect{Nothing: true})
		if err == nil || errors.Is(err, bucket.ErrChanged) != test.changed || !test.changed && !strings.Contains(err.Error(), test.code) {
			t.Errorf("%s: %v", test.code, err)
		}
	}
}

// A layer of a place that is opened with two keys is fetched with the one that may read it, whichever was opened last.
func TestTwoKeys(t *testing.T) {
	server, _ := placetest.StartAzure(t)
	good, err := azblob.New(spec(server.URL))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := good.Put(t.Context(), "name", 1, strings.NewReader("x"), bucket.Expect{}); err != nil {
		t.Fatal(err)
	}
	other := spec(server.URL)
	other.Attr["secret_access_key"] = "b3RoZXI="
	for _, opened := range []places.Spec{other, spec(server.URL)} {
		if _, err := azblob.New(opened); err != nil {
			t.Fatal(err)
		}
		r, err := azblob.Kind.Blobs.Open(t.Context(), strings.TrimPrefix(good.Location(), "azblob:")+"|name", ocispec.Descriptor{}, 0)
		if err != nil {
			t.Error(err)
			continue
		}
		r.Close()
	}
}
