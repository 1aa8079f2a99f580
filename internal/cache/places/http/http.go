// Package http is a cache behind plain GET, HEAD, PUT and DELETE: a WebDAV server, nginx's dav module, an artefact
// store. Package bucket says what is in it.
//
// Two that write at once lose none of each other's records where the server knows ETags and their conditions (RFC
// 9110, 13.1); another server keeps the last one's lists, which are copies. The server is not asked what it has:
// nothing in HTTP does that.
package http

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/cache/places"
	"github.com/strata-build/strata/internal/cache/places/bucket"
	"github.com/strata-build/strata/internal/transfer"
)

// Names of the attributes.
const (
	urlName  = "url"
	authName = "auth_env"
)

// scheme begins locations.
const scheme = "http-cache"

// Kind is type=http.
var Kind = places.Kind{
	Type: "http",
	From: append(common(), places.MountsFrom()...),
	To:   slices.Concat(common(), places.Options(), places.MountsTo(), []places.Attribute{bucket.Uploads}),
	Open: func(ctx context.Context, m *transfer.Mover, s places.Spec, _ ocispec.Platform) (*cache.Source, error) {
		return newPlace(m, s).Source(ctx)
	},
	Create: func(m *transfer.Mover, s places.Spec) (cache.Place, error) { return newPlace(m, s), nil },
	Blobs:  &transfer.BlobSource{Scheme: scheme, Open: openBlob},
}

func common() []places.Attribute {
	return []places.Attribute{{Name: urlName, Value: "URL", Check: checkURL}, bucket.Name, {Name: authName, Check: checkEnv}}
}

func checkURL(value string) error {
	u, err := url.Parse(value)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("url=%s: it is the URL of a folder, https://HOST/PATH/", value)
	case u.User != nil:
		return fmt.Errorf("url=%s: leave out the name and password, which others could read; put the Authorization header into a variable and name that: auth_env=NAME", u.Redacted())
	}
	return nil
}

func checkEnv(value string) error {
	if strings.ContainsAny(value, " =:") {
		return errors.New("it is the name of an environment variable that has the Authorization header, Bearer TOKEN or Basic BASE64")
	}
	return nil
}

func newPlace(m *transfer.Mover, s places.Spec) *bucket.Place {
	return bucket.New(m, newObjects(s.Attr[urlName], s.Attr[authName]), s.Ref, bucket.OptionsOf(s))
}

// Objects are those below a URL.
type Objects struct {
	base   *url.URL
	auth   string // the name of the variable with the Authorization header, "" for none
	caller *bucket.Caller
}

func newObjects(base, auth string) *Objects {
	u, _ := url.Parse(base) // checkURL has
	u.Path = strings.TrimSuffix(u.Path, "/") + "/"
	s := &Objects{u, auth, &bucket.Caller{}}
	if auth != "" {
		s.caller.Sign = func(req *http.Request) error {
			req.Header.Set("Authorization", os.Getenv(auth))
			return nil
		}
	}
	return s
}

// Location implements bucket.Objects.
func (s *Objects) Location() string {
	return scheme + ":" + url.Values{"url": {s.base.String()}, "auth": {s.auth}}.Encode()
}

func (s *Objects) String() string { return s.base.String() }

// openBlob opens an object at a location that a place has noted.
func openBlob(ctx context.Context, location string, _ ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	where, name, ok := strings.Cut(location, "|")
	v, err := url.ParseQuery(where)
	if !ok || err != nil || checkURL(v.Get("url")) != nil {
		return nil, fmt.Errorf("%q is no location of a cache behind HTTP", location)
	}
	r, _, err := newObjects(v.Get("url"), v.Get("auth")).Open(ctx, name, offset)
	return r, err
}

// Open implements bucket.Objects.
func (s *Objects) Open(ctx context.Context, name string, offset int64) (io.ReadCloser, bucket.Object, error) {
	resp, err := s.do(ctx, http.MethodGet, name, bucket.RangeFrom(offset), nil)
	if err != nil {
		return nil, bucket.Object{}, err
	}
	r, err := bucket.Opened(resp, offset)
	if err != nil {
		return nil, bucket.Object{}, fmt.Errorf("reading %s: %w", name, err)
	}
	return r, bucket.ObjectOf(name, resp), nil
}

// Stat implements bucket.Objects.
func (s *Objects) Stat(ctx context.Context, name string) (bucket.Object, error) {
	resp, err := s.do(ctx, http.MethodHead, name, nil, nil)
	if err != nil {
		return bucket.Object{}, err
	}
	resp.Body.Close()
	return bucket.ObjectOf(name, resp), nil
}

// Put implements bucket.Objects. A server that keeps half of what it was sent when the connection is lost does not keep
// the promise; its digest tells who reads it.
func (s *Objects) Put(ctx context.Context, name string, size int64, r io.Reader, expect bucket.Expect) (bucket.Object, error) {
	header := http.Header{}
	expect.Condition(header)
	body, err := bucket.NewBody(name, size, r)
	if err != nil {
		return bucket.Object{}, err
	}
	resp, err := s.do(ctx, http.MethodPut, name, header, body)
	if err != nil {
		return bucket.Object{}, err
	}
	resp.Body.Close()
	o := bucket.ObjectOf(name, resp)
	o.Size = size
	return o, nil
}

// List implements bucket.Objects.
func (s *Objects) List(context.Context, string) iter.Seq2[bucket.Object, error] {
	return func(yield func(bucket.Object, error) bool) { yield(bucket.Object{}, bucket.ErrNoList) }
}

// Remove implements bucket.Objects.
func (s *Objects) Remove(ctx context.Context, name string) error {
	resp, err := s.do(ctx, http.MethodDelete, name, nil, nil)
	if errors.Is(err, bucket.ErrNoObject) {
		return nil
	}
	if err != nil {
		return err
	}
	resp.Body.Close()
	return nil
}

// do makes a request. An answer that is no success is an error.
func (s *Objects) do(ctx context.Context, method, name string, header http.Header, body *bucket.Body) (*http.Response, error) {
	for made := false; ; made = true {
		resp, err := s.caller.Do(ctx, bucket.Request{Method: method, URL: s.base.JoinPath(name), Header: header, Body: body})
		if err != nil && ctx.Err() == nil {
			err = fmt.Errorf("%s: %w", doing(method, name), err)
		}
		if err != nil {
			return nil, err
		}
		if resp.StatusCode/100 == 2 {
			return resp, nil
		}
		resp.Body.Close()
		missing := resp.StatusCode == http.StatusConflict || resp.StatusCode == http.StatusNotFound
		if method != http.MethodPut || !missing || made || body.R != nil {
			return nil, s.refused(method, name, resp)
		}
		s.makeFolders(ctx, name) // a WebDAV server wants the folder first (RFC 4918, 9.7.1)
	}
}

// makeFolders makes the folders of an object, as WebDAV has it. What it cannot make the next write tells.
func (s *Objects) makeFolders(ctx context.Context, name string) {
	folder := ""
	for _, part := range strings.Split(path.Dir(name), "/") {
		folder += part + "/"
		if resp, err := s.caller.Do(ctx, bucket.Request{Method: "MKCOL", URL: s.base.JoinPath(folder)}); err == nil {
			resp.Body.Close()
		}
	}
}

func doing(method, name string) string {
	switch method {
	case http.MethodPut:
		return "writing " + name
	case http.MethodDelete:
		return "removing " + name
	}
	return "reading " + name
}

// refused says what a person can do about an answer.
func (s *Objects) refused(method, name string, resp *http.Response) error {
	switch resp.StatusCode {
	case http.StatusNotFound, http.StatusGone:
		return fmt.Errorf("%s: %w", doing(method, name), bucket.ErrNoObject)
	case http.StatusPreconditionFailed:
		return fmt.Errorf("%s: %w", doing(method, name), bucket.ErrChanged)
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%s: %s refuses it (%s); name a variable with an Authorization header that it takes: auth_env=NAME", doing(method, name), s, resp.Status)
	case http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return fmt.Errorf("%s: %s does not take %s (%s); it has to be a server that files can be put to", doing(method, name), s, method, resp.Status)
	}
	return fmt.Errorf("%s: %s answered %s", doing(method, name), s, resp.Status)
}
