package test

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/rogpeppe/go-internal/testscript"
)

// countedRegistry is what went through a proxy before a registry.
type countedRegistry struct {
	requests, sent atomic.Int64
	parts          atomic.Int64 // requests for parts of blobs that are let through; the others are answered 503
}

// countedKey is under what a script has its *countedRegistry, in a variable.
type countedKey struct{}

// counted puts a proxy before the registry at REGISTRY, and sets COUNTED to its address; "counted registry" prints
// how many requests there were since it was last asked, and how many bytes went out. "counted parts N" lets N more
// requests for parts of blobs through.
func counted(ts *testscript.TestScript, neg bool, args []string) {
	now := ts.Value(countedKey{}).(**countedRegistry)
	switch {
	case !neg && len(args) == 2 && args[0] == "parts" && *now != nil:
		n, err := strconv.ParseInt(args[1], 10, 64)
		ts.Check(err)
		(*now).parts.Store(n)
		return
	case neg || len(args) != 1 || args[0] != "registry":
		ts.Fatalf("usage: counted registry | parts N")
	case *now != nil:
		fmt.Fprintf(ts.Stdout(), "%d requests, %d bytes\n", (*now).requests.Swap(0), (*now).sent.Swap(0))
		return
	}
	c := &countedRegistry{}
	c.parts.Store(math.MaxInt64)
	*now = c
	target := &url.URL{Scheme: "http", Host: ts.Getenv("REGISTRY")}
	forward := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // what the registry calls itself
			c.requests.Add(1)
		},
		ModifyResponse: func(r *http.Response) error {
			r.Body = &countedBody{r.Body, &c.sent}
			return nil
		},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "" && c.parts.Add(-1) < 0 {
			http.Error(w, "not now", http.StatusServiceUnavailable)
			return
		}
		forward.ServeHTTP(w, r)
	}))
	ts.Defer(server.Close)
	ts.Setenv("COUNTED", strings.TrimPrefix(server.URL, "http://"))
}

type countedBody struct {
	io.ReadCloser
	n *atomic.Int64
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n.Add(int64(n))
	return n, err
}
