package test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/rogpeppe/go-internal/testscript"
)

// countedRegistry is what went through a proxy before a registry.
type countedRegistry struct{ requests, sent atomic.Int64 }

// countedKey is under what a script has its *countedRegistry, in a variable.
type countedKey struct{}

// counted puts a proxy before the registry at REGISTRY, and sets COUNTED to its address; "counted registry" prints how many requests
// there were since it was last asked, and how many bytes went out.
func counted(ts *testscript.TestScript, neg bool, args []string) {
	now := ts.Value(countedKey{}).(**countedRegistry)
	switch {
	case neg || len(args) != 1 || args[0] != "registry":
		ts.Fatalf("usage: counted registry")
	case *now != nil:
		fmt.Fprintf(ts.Stdout(), "%d requests, %d bytes\n", (*now).requests.Swap(0), (*now).sent.Swap(0))
		return
	}
	c := &countedRegistry{}
	*now = c
	target := &url.URL{Scheme: "http", Host: ts.Getenv("REGISTRY")}
	server := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // what the registry calls itself
			c.requests.Add(1)
		},
		ModifyResponse: func(r *http.Response) error {
			r.Body = &countedBody{r.Body, &c.sent}
			return nil
		},
	})
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
