// Package azblob is a cache in a container of Azure Blob Storage. Package bucket says what is in it.
//
// Attributes are those of BuildKit's cache of this type (github.com/moby/buildkit, README.md, "Azure Blob Storage
// cache"); its objects are not BuildKit's. Requests are made by the REST API of the service
// (learn.microsoft.com/rest/api/storageservices/blob-service-rest-api): six of them, where Azure's own library would
// be some MB.
package azblob

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/cache/places"
	"github.com/strata-build/strata/internal/cache/places/bucket"
	"github.com/strata-build/strata/internal/transfer"
)

// Names of the attributes.
const (
	urlName       = "account_url"
	accountName   = "account_name"
	containerName = "container"
	keyName       = "secret_access_key"
)

// scheme begins locations.
const scheme = "azblob"

// defaultContainer is BuildKit's.
const defaultContainer = "buildkit-cache"

// Kind is type=azblob.
var Kind = places.Kind{
	Type: "azblob",
	From: append(common(), places.MountsFrom()...),
	To:   slices.Concat(common(), places.Options(), places.MountsTo(), []places.Attribute{bucket.Uploads, places.Lease}),
	Open: func(ctx context.Context, m *transfer.Mover, s places.Spec, _ ocispec.Platform) (*cache.Source, error) {
		p, err := newPlace(m, s)
		if err != nil {
			return nil, err
		}
		return p.Source(ctx)
	},
	Create: func(m *transfer.Mover, s places.Spec) (cache.Place, error) { return newPlace(m, s) },
	Leases: true,
	Depot:  func(m *transfer.Mover, s places.Spec) (places.Depot, error) { return newPlace(m, s) },
	Blobs:  &transfer.BlobSource{Scheme: scheme, Open: openBlob},
}

func common() []places.Attribute {
	return []places.Attribute{
		{Name: urlName, Value: "URL", Check: checkURL},
		{Name: accountName},
		{Name: containerName, Check: checkContainer},
		{Name: keyName, Check: checkKey, Secret: true},
		bucket.Prefix,
		bucket.Blobs,
		{Name: "manifests_prefix"}, // of BuildKit's documents, which there are none of
		bucket.Name,
	}
}

func checkURL(value string) error {
	u, err := url.Parse(value)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.Fragment != "":
		return fmt.Errorf("%s=%s: it is the URL of a storage account, https://ACCOUNT.blob.core.windows.net", urlName, redacted(value))
	case u.RawQuery != "":
		return fmt.Errorf("%s=%s: leave out what follows the question mark, which others could read; a shared access signature belongs into AZURE_STORAGE_SAS_TOKEN", urlName, redacted(value))
	}
	return nil
}

// redacted is a URL without what may be a secret.
func redacted(value string) string {
	value, _, _ = strings.Cut(value, "?")
	if _, rest, ok := strings.Cut(value, "@"); ok {
		return "…@" + rest
	}
	return value
}

func checkContainer(value string) error {
	if value == "" || strings.Trim(value, "abcdefghijklmnopqrstuvwxyz0123456789-$") != "" {
		return errors.New("the name of a container has small letters, digits and hyphens")
	}
	return nil
}

func checkKey(value string) error {
	if _, err := base64.StdEncoding.DecodeString(value); err != nil {
		return errors.New("it is a key of the storage account, which is in base64")
	}
	return nil
}

// New opens the container that a spec names.
func New(s places.Spec) (*Objects, error) {
	a := account{
		url:       strings.TrimSuffix(s.Attr[urlName], "/"),
		container: cmp.Or(s.Attr[containerName], os.Getenv("BUILDKIT_AZURE_STORAGE_CONTAINER"), defaultContainer),
	}
	a.name = cmp.Or(s.Attr[accountName], os.Getenv("BUILDKIT_AZURE_STORAGE_ACCOUNT_NAME"), a.nameOfHost())
	return open(a, s.Attr[keyName])
}

func newPlace(m *transfer.Mover, s places.Spec) (*bucket.Place, error) {
	store, err := New(s)
	if err != nil {
		return nil, err
	}
	return bucket.New(m, store, s.Ref+"/"+store.container, bucket.OptionsOf(s)), nil
}

// account is where a container is.
type account struct{ url, name, container string }

// nameOfHost is the account's name as its host says it: the first label.
func (a account) nameOfHost() string {
	u, err := url.Parse(a.url)
	if err != nil {
		return ""
	}
	name, _, _ := strings.Cut(u.Hostname(), ".")
	return name
}

func (a account) location() string {
	return url.Values{"url": {a.url}, "name": {a.name}, "container": {a.container}}.Encode()
}

// Objects are those of a container.
type Objects struct {
	account
	base   *url.URL // of the container
	caller *bucket.Caller
}

// stores are those that this process has opened, by their location: what a person gave as credentials is in no
// location.
var stores bucket.Stores

// open opens a container with a key, or else what the environment has: a key or a shared access signature.
func open(a account, key string) (*Objects, error) {
	base, err := url.Parse(a.url)
	if err != nil {
		return nil, err
	}
	s := &Objects{a, base.JoinPath(a.container), &bucket.Caller{}}
	key, sas := cmp.Or(key, os.Getenv("AZURE_STORAGE_KEY")), strings.TrimPrefix(os.Getenv("AZURE_STORAGE_SAS_TOKEN"), "?")
	switch {
	case key != "":
		secret, err := base64.StdEncoding.DecodeString(key)
		if err != nil {
			return nil, errors.New("AZURE_STORAGE_KEY: it is a key of the storage account, which is in base64")
		}
		s.caller.Sign = func(req *http.Request) error { return sign(req, a.name, secret) }
	case sas != "":
		s.caller.Sign = func(req *http.Request) error { return addSignature(req, sas) }
	default:
		s.caller.Sign = Anonymous // what anybody may read
	}
	stores.Add(a.location(), key+"\n"+sas, s)
	return s, nil
}

// openBlob opens an object at a location that a place has noted.
func openBlob(ctx context.Context, location string, _ ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	where, name, ok := strings.Cut(location, "|")
	v, err := url.ParseQuery(where)
	if !ok || err != nil || checkURL(v.Get("url")) != nil {
		return nil, fmt.Errorf("%q is no location of a container of Azure", location)
	}
	return stores.Open(ctx, where, name, offset, func() (bucket.Objects, error) {
		return open(account{v.Get("url"), v.Get("name"), v.Get("container")}, "")
	})
}

// Location implements bucket.Objects.
func (s *Objects) Location() string { return scheme + ":" + s.location() }

func (s *Objects) String() string { return s.base.String() }

// Open implements bucket.Objects.
func (s *Objects) Open(ctx context.Context, name string, offset int64) (io.ReadCloser, bucket.Object, error) {
	resp, err := s.do(ctx, "reading "+name, bucket.Request{Method: http.MethodGet, URL: s.base.JoinPath(name), Header: bucket.RangeFrom(offset)})
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
	resp, err := s.do(ctx, "asking for "+name, bucket.Request{Method: http.MethodHead, URL: s.base.JoinPath(name)})
	if err != nil {
		return bucket.Object{}, err
	}
	resp.Body.Close()
	return bucket.ObjectOf(name, resp), nil
}

// Put implements bucket.Objects. A container that is not there is made, as BuildKit does.
func (s *Objects) Put(ctx context.Context, name string, size int64, r io.Reader, expect bucket.Expect) (bucket.Object, error) {
	up := Upload{URL: s.base.JoinPath(name), Caller: s.caller, Do: func(ctx context.Context, r bucket.Request) (*http.Response, error) {
		return s.do(ctx, "writing "+name, r)
	}}
	return up.Put(ctx, name, size, r, expect)
}

// List implements bucket.Objects.
func (s *Objects) List(ctx context.Context, prefix string) iter.Seq2[bucket.Object, error] {
	return func(yield func(bucket.Object, error) bool) {
		for marker := ""; ; {
			page, err := s.page(ctx, prefix, marker)
			if err != nil {
				yield(bucket.Object{}, err)
				return
			}
			for _, b := range page.Blobs.Blob {
				o := bucket.Object{Name: b.Name, Size: b.Properties.Size, Version: b.Properties.Etag}
				o.Modified, _ = http.ParseTime(b.Properties.Modified)
				if !yield(o, nil) {
					return
				}
			}
			if marker = page.NextMarker; marker == "" {
				return
			}
		}
	}
}

// page is an answer to List Blobs.
type page struct {
	NextMarker string
	Blobs      struct {
		Blob []struct {
			Name       string
			Properties struct {
				Modified string `xml:"Last-Modified"`
				Etag     string
				Size     int64 `xml:"Content-Length"`
			}
		}
	}
}

// maxPage is how long a page may be: 5,000 blobs with the longest names.
const maxPage = 64 << 20

func (s *Objects) page(ctx context.Context, prefix, marker string) (*page, error) {
	u := *s.base
	u.RawQuery = url.Values{"restype": {"container"}, "comp": {"list"}, "prefix": {prefix}, "marker": {marker}}.Encode()
	resp, err := s.do(ctx, "listing "+prefix, bucket.Request{Method: http.MethodGet, URL: &u})
	if errors.Is(err, bucket.ErrNoObject) {
		return &page{}, nil // there is no container yet
	}
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var p page
	if err := xml.NewDecoder(io.LimitReader(resp.Body, maxPage)).Decode(&p); err != nil {
		return nil, fmt.Errorf("listing %s: %s: %w", prefix, s, err)
	}
	return &p, nil
}

// Remove implements bucket.Objects.
func (s *Objects) Remove(ctx context.Context, name string) error {
	resp, err := s.do(ctx, "removing "+name, bucket.Request{Method: http.MethodDelete, URL: s.base.JoinPath(name)})
	if errors.Is(err, bucket.ErrNoObject) {
		return nil
	}
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// do makes a request. An answer that is no success is an error.
func (s *Objects) do(ctx context.Context, doing string, r bucket.Request) (*http.Response, error) {
	for made := false; ; made = true {
		resp, err := s.caller.Do(ctx, r)
		if err != nil && ctx.Err() == nil {
			err = fmt.Errorf("%s: %w", doing, err)
		}
		if err != nil {
			return nil, err
		}
		if resp.StatusCode/100 == 2 {
			return resp, nil
		}
		resp.Body.Close()
		if resp.Header.Get("X-Ms-Error-Code") == "ContainerNotFound" && r.Method == http.MethodPut && !made && (r.Body == nil || r.Body.R == nil) {
			if err := s.makeContainer(ctx); err != nil {
				return nil, err
			}
			continue
		}
		return nil, s.refused(doing, resp)
	}
}

func (s *Objects) makeContainer(ctx context.Context) error {
	u := *s.base
	u.RawQuery = "restype=container"
	resp, err := s.caller.Do(ctx, bucket.Request{Method: http.MethodPut, URL: &u, Body: &bucket.Body{}})
	if err != nil {
		return fmt.Errorf("making the container %s: %w", s.container, err)
	}
	resp.Body.Close()
	if resp.StatusCode/100 != 2 && resp.StatusCode != http.StatusConflict { // another one has made it
		return s.refused("making the container "+s.container, resp)
	}
	return nil
}

// refused says what a person can do about an answer.
func (s *Objects) refused(doing string, resp *http.Response) error {
	code := cmp.Or(resp.Header.Get("X-Ms-Error-Code"), strconv.Itoa(resp.StatusCode))
	switch {
	case resp.StatusCode == http.StatusNotFound:
		return fmt.Errorf("%s: %w", doing, bucket.ErrNoObject)
	// Other conflicts are no other writer's: a container that is being removed, a blob that a policy keeps as it is.
	case resp.StatusCode == http.StatusPreconditionFailed, resp.StatusCode == http.StatusConflict && code == "BlobAlreadyExists":
		return fmt.Errorf("%s: %w", doing, bucket.ErrChanged)
	case resp.StatusCode == http.StatusForbidden, resp.StatusCode == http.StatusUnauthorized:
		return fmt.Errorf("%s: %s refuses it (%s); see %s= or AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN, and what they may do", doing, s, code, keyName)
	}
	return fmt.Errorf("%s: %s answered %s (%s)", doing, s, resp.Status, code)
}
