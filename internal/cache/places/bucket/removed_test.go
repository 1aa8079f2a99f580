package bucket_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/strata-build/strata/internal/cache/packed"
	"github.com/strata-build/strata/internal/cache/places/bucket"
	"github.com/strata-build/strata/internal/cache/places/placetest"
)

// removing is a store that removes an object right before it is written on the condition that it is as it was, and answers as S3
// does: there is none.
type removing struct{ *memory }

func (r removing) Put(ctx context.Context, name string, size int64, data io.Reader, expect bucket.Expect) (bucket.Object, error) {
	if expect.Version != "" {
		_ = r.Remove(ctx, name) // it never fails
		return bucket.Object{}, bucket.ErrNoObject
	}
	return r.memory.Put(ctx, name, size, data, expect)
}

// What was removed since it was read has changed: the list is written anew, and the mount is another build's.
func TestRemovedMeanwhile(t *testing.T) {
	m := newMemory()
	mover := placetest.Machine(t, m.source())
	open := func(o bucket.Objects) *bucket.Place { return bucket.New(mover, o, "memory", bucket.Options{}) }
	if err := open(m).Put(t.Context(), placetest.Steps(t, mover, "a")); err != nil {
		t.Fatal(err)
	}
	if err := open(removing{m}).Put(t.Context(), placetest.Steps(t, mover, "b")); err != nil {
		t.Errorf("the list: %v", err)
	}
	before := "1"
	if err := open(removing{m}).PutMount(t.Context(), &packed.Document{}, nil, &before); !errors.Is(err, packed.ErrChanged) {
		t.Errorf("the mount: %v", err)
	}
}

// Nobody to whom a request is sent on gets its URL, which may be signed.
func TestReferer(t *testing.T) {
	var got http.Header
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header }))
	defer other.Close()
	s := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusFound))
	defer s.Close()
	u, err := url.Parse(s.URL + "/blob?sig=secret")
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&bucket.Caller{}).Do(t.Context(), bucket.Request{Method: http.MethodGet, URL: u})
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got == nil || strings.Contains(got.Get("Referer"), "sig") {
		t.Errorf("the other server is told %v", got)
	}
}
