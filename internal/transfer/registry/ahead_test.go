package registry

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/distribution/reference"
	"github.com/strata-build/strata/internal/transfer/registry/registrytest"
)

// A blob that is sent before its digest is known is there after the push, with nothing sent twice; one that the
// registry turns out to have is given up, and what a registry does not take ahead is sent as ever.
func TestSendAhead(t *testing.T) {
	var requests counter
	host := requests.start(t, registrytest.Start(t))
	c := newClient(t)
	ref := mustName(t, host+"/me/ahead:1")
	data := noise(21, 3_000_000)
	blobs, manifest := testImage(t, amd64, data)
	send := func(c *Client, ref string, open func() (io.ReadCloser, error)) (last map[string]string, sent int64) {
		t.Helper()
		named := mustName(t, ref)
		ahead, err := c.SendAhead(t.Context(), named, open)
		if err != nil {
			t.Fatal(err)
		}
		defer ahead.Drop(t.Context())
		upload := blobs[0]
		upload.Ahead = ahead
		opened := upload.Open
		upload.Open = func() (io.ReadCloser, error) { sent += upload.Desc.Size; return opened() }
		report, last := statuses()
		if _, err := c.Push(t.Context(), named, []Upload{upload, blobs[1]}, manifest, report); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Resolve(t.Context(), named, amd64); err != nil {
			t.Error(err)
		}
		return last, sent
	}
	blob := blobs[0].Desc.Digest.String()

	// What is made slowly.
	r, w := io.Pipe()
	go func() {
		for rest := data; len(rest) > 0; {
			n := min(len(rest), 100_000)
			w.Write(rest[:n])
			rest = rest[n:]
		}
		w.Close()
	}()
	last, sent := send(c, ref.String(), func() (io.ReadCloser, error) { return r, nil })
	if last[blob] != StatusPushed || sent != 0 || requests.count("PATCH ") != 1 {
		t.Errorf("sent ahead: %q, and %d bytes again, with %d PATCH", last[blob], sent, requests.count("PATCH "))
	}

	// What is there already, while its bytes are still to come.
	never, end := io.Pipe()
	defer end.Close()
	last, sent = send(newClient(t), ref.String(), func() (io.ReadCloser, error) { return never, nil })
	if last[blob] != StatusExists || sent != 0 {
		t.Errorf("what is there already: %q, %d bytes sent", last[blob], sent)
	}

	// Bytes that are not those of the digest, too few of them, and a registry without PATCH.
	for name, wrong := range map[string][]byte{"other": noise(22, len(data)), "fewer": data[:1000]} {
		last, sent = send(newClient(t), host+"/me/"+name+":1", func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(wrong)), nil })
		if last[blob] != StatusPushed || sent != int64(len(data)) {
			t.Errorf("%s: %q, %d bytes sent again", name, last[blob], sent)
		}
	}
	forward := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: host})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPatch {
			w.WriteHeader(http.StatusLengthRequired)
			return
		}
		forward.ServeHTTP(w, r)
	}))
	defer s.Close()
	last, sent = send(newClient(t), strings.TrimPrefix(s.URL, "http://")+"/me/without:1", func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
	if last[blob] != StatusPushed || sent != int64(len(data)) {
		t.Errorf("without PATCH: %q, %d bytes sent again", last[blob], sent)
	}
}

// An upload that a mount began is given up when the blob was sent ahead, and begun anew when that did not do; what a
// mount took over is not sent any more.
func TestSendAheadBesideMount(t *testing.T) {
	data, other := noise(23, 100_000), noise(24, 100_000)
	for _, test := range []struct {
		name          string
		ahead         []byte
		base          []byte // that the other repository has
		status        string
		posts, cancel int
	}{
		{"sent ahead", data, other, StatusPushed, 3, 1},
		{"wrong bytes", other, other, StatusPushed, 4, 2},
		{"mounted", data, data, StatusMounted + " me/base", 3, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			var requests counter
			host := requests.start(t, registrytest.Start(t))
			c := newClient(t)
			base, ref := mustName(t, host+"/me/base:1"), mustName(t, host+"/me/ahead:1")
			blobs, manifest := testImage(t, amd64, test.base)
			if _, err := c.Push(t.Context(), base, blobs, manifest, nil); err != nil {
				t.Fatal(err)
			}
			posts, cancelled := requests.count("POST "), requests.count("DELETE ")
			blobs, manifest = testImage(t, amd64, data)
			ahead, err := c.SendAhead(t.Context(), ref, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(test.ahead)), nil })
			if err != nil {
				t.Fatal(err)
			}
			defer ahead.Drop(t.Context())
			<-ahead.done
			blobs[0].Ahead, blobs[0].MountFrom = ahead, []reference.Named{base}
			report, last := statuses()
			if _, err := c.Push(t.Context(), ref, blobs, manifest, report); err != nil {
				t.Error(err)
			}
			if got := last[blobs[0].Desc.Digest.String()]; got != test.status {
				t.Errorf("%q", got)
			}
			if p, d := requests.count("POST ")-posts, requests.count("DELETE ")-cancelled; p != test.posts || d != test.cancel {
				t.Errorf("%d uploads begun and %d given up, want %d and %d: %q", p, d, test.posts, test.cancel, requests.seen)
			}
		})
	}
}

// What is given up after the push was interrupted the registry is told of as well.
func TestDropAfterInterrupt(t *testing.T) {
	var requests counter
	host := requests.start(t, registrytest.Start(t))
	ctx, interrupt := context.WithCancel(t.Context())
	begun := make(chan struct{})
	never, end := io.Pipe()
	ahead, err := newClient(t).SendAhead(context.WithoutCancel(ctx), mustName(t, host+"/me/ahead:1"), func() (io.ReadCloser, error) {
		close(begun)
		return never, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	<-begun
	interrupt()
	end.CloseWithError(context.Canceled) // as the making of the blob breaks off
	ahead.Drop(ctx)
	if requests.count("DELETE ") != 1 {
		t.Errorf("the registry keeps the upload: %q", requests.seen)
	}
}
