// Package s3 is a cache in a bucket of Amazon S3, or of what speaks its protocol: MinIO, Ceph, Garage, R2, and Google
// Cloud Storage by its interoperable face. Package bucket says what is in it.
//
// Attributes are those of BuildKit's cache of this type (github.com/moby/buildkit, README.md, "S3 cache"); its
// objects are not BuildKit's.
package s3

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/cache/places"
	"github.com/strata-build/strata/internal/cache/places/bucket"
	"github.com/strata-build/strata/internal/transfer"
)

// Kind is type=s3.
var Kind = kind("s3", "")

// GCS is type=gcs: Google Cloud Storage by its XML API, with HMAC keys in the place of access keys
// (cloud.google.com/storage/docs/interoperability).
var GCS = kind("gcs", "https://storage.googleapis.com")

// Names of the attributes.
const (
	bucketName    = "bucket"
	regionName    = "region"
	endpointName  = "endpoint_url"
	pathStyleName = "use_path_style"
	keyName       = "access_key_id"
	secretName    = "secret_access_key"
	tokenName     = "session_token"
)

// scheme begins locations.
const scheme = "s3"

// retries is how often a request is made whose failure may pass: an answer of 5xx or 429, a lost connection.
const retries = 4

func kind(name, endpoint string) places.Kind {
	common := []places.Attribute{
		{Name: bucketName, Value: "BUCKET"},
		{Name: regionName},
		{Name: endpointName, Check: checkURL},
		{Name: pathStyleName, Check: places.CheckBool},
		bucket.Prefix,
		bucket.Blobs,
		{Name: "manifests_prefix"}, // of BuildKit's documents, which there are none of
		bucket.Name,
		{Name: keyName, Secret: true},
		{Name: secretName, Secret: true},
		{Name: tokenName, Secret: true},
	}
	from := append(slices.Clone(common), places.MountsFrom()...)
	to := slices.Concat(common, places.Options(), places.MountsTo(), []places.Attribute{bucket.Uploads, places.Lease, {Name: "touch_refresh"}})
	opened := func(m *transfer.Mover, s places.Spec) (*bucket.Place, error) {
		if s.Attr[endpointName] == "" && endpoint != "" {
			s.Attr[endpointName] = endpoint
		}
		return newPlace(m, s)
	}
	return places.Kind{
		Type: name, From: from, To: to,
		Open: func(ctx context.Context, m *transfer.Mover, s places.Spec, _ ocispec.Platform) (*cache.Source, error) {
			p, err := opened(m, s)
			if err != nil {
				return nil, err
			}
			return p.Source(ctx)
		},
		Create: func(m *transfer.Mover, s places.Spec) (cache.Place, error) { return opened(m, s) },
		Blobs:  &transfer.BlobSource{Scheme: scheme, Open: openBlob},
		Leases: true,
		Depot:  func(m *transfer.Mover, s places.Spec) (places.Depot, error) { return opened(m, s) },
	}
}

func checkURL(value string) error {
	u, err := url.Parse(value)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
		return errors.New("it is the URL of a server, https://HOST or http://HOST:PORT, without a name and password")
	}
	return nil
}

// New opens the bucket that a spec names.
func New(s places.Spec) (*Objects, error) {
	return open(address{
		bucket: s.Attr[bucketName], endpoint: s.Attr[endpointName], pathStyle: s.On(pathStyleName),
		region: cmp.Or(s.Attr[regionName], os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION"), "us-east-1"),
	}, s.Attr[keyName], s.Attr[secretName], s.Attr[tokenName])
}

func newPlace(m *transfer.Mover, s places.Spec) (*bucket.Place, error) {
	store, err := New(s)
	if err != nil {
		return nil, err
	}
	return bucket.New(m, store, s.Ref, bucket.OptionsOf(s)), nil
}

// address is where a bucket is.
type address struct {
	bucket, endpoint, region string
	pathStyle                bool
}

func (a address) location() string {
	v := url.Values{"bucket": {a.bucket}, "region": {a.region}}
	if a.endpoint != "" {
		v.Set("endpoint", a.endpoint)
	}
	if a.pathStyle {
		v.Set("path", "true")
	}
	return v.Encode()
}

func parseLocation(text string) (address, error) {
	v, err := url.ParseQuery(text)
	return address{bucket: v.Get("bucket"), endpoint: v.Get("endpoint"), region: v.Get("region"), pathStyle: v.Get("path") == "true"}, err
}

// stores are the buckets that this process has opened, by location: layers are fetched with the credentials that
// --cache-from gave.
var stores bucket.Stores

// Objects is a bucket.
type Objects struct {
	address
	client *minio.Client
	core   minio.Core
}

// open opens a bucket, which asks nobody anything. Without a key the credentials are those of the usual chain: the
// environment, ~/.aws/credentials, then what the machine or pod has.
func open(a address, key, secret, token string) (*Objects, error) {
	endpoint := cmp.Or(a.endpoint, "https://s3."+a.region+".amazonaws.com")
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, fmt.Errorf("%s=%s: %w", endpointName, endpoint, err)
	}
	transport := bucket.Transport()
	creds := credentials.NewStaticV4(key, secret, token)
	if key == "" {
		creds = credentials.NewChainCredentials([]credentials.Provider{
			&credentials.EnvAWS{}, &credentials.FileAWSCredentials{},
			&credentials.IAM{Client: &http.Client{Transport: transport, Timeout: 2 * time.Second}},
		})
	}
	lookup := minio.BucketLookupAuto
	if a.pathStyle {
		lookup = minio.BucketLookupPath
	}
	client, err := minio.New(u.Host, &minio.Options{
		Creds: creds, Secure: u.Scheme == "https", Transport: transport, Region: a.region, BucketLookup: lookup, MaxRetries: retries,
	})
	if err != nil {
		return nil, fmt.Errorf("%s=%s: %w", endpointName, endpoint, err)
	}
	s := &Objects{a, client, minio.Core{Client: client}}
	stores.Add(a.location(), key+"\n"+secret+"\n"+token, s)
	return s, nil
}

// openBlob opens an object at a location that a place has noted.
func openBlob(ctx context.Context, location string, _ ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	where, name, ok := strings.Cut(location, "|")
	if !ok {
		return nil, fmt.Errorf("%q is no location of a bucket", location)
	}
	return stores.Open(ctx, where, name, offset, func() (bucket.Objects, error) {
		a, err := parseLocation(where)
		if err != nil {
			return nil, fmt.Errorf("%q is no location of a bucket: %w", location, err)
		}
		return open(a, "", "", "")
	})
}

// Location implements bucket.Objects.
func (s *Objects) Location() string { return scheme + ":" + s.location() }

func (s *Objects) String() string { return "s3://" + s.bucket }

// Open implements bucket.Objects.
func (s *Objects) Open(ctx context.Context, name string, offset int64) (io.ReadCloser, bucket.Object, error) {
	var o minio.GetObjectOptions
	if offset > 0 {
		if err := o.SetRange(offset, 0); err != nil {
			return nil, bucket.Object{}, err
		}
	}
	r, info, _, err := s.core.GetObject(ctx, s.bucket, name, o)
	if err != nil {
		return nil, bucket.Object{}, s.explain(ctx, "reading "+name, err)
	}
	return r, object(info), nil
}

func object(info minio.ObjectInfo) bucket.Object {
	return bucket.Object{Name: info.Key, Size: info.Size, Modified: info.LastModified, Version: info.ETag}
}

// Stat implements bucket.Objects.
func (s *Objects) Stat(ctx context.Context, name string) (bucket.Object, error) {
	info, err := s.client.StatObject(ctx, s.bucket, name, minio.StatObjectOptions{})
	if err != nil {
		return bucket.Object{}, s.explain(ctx, "asking for "+name, err)
	}
	return object(info), nil
}

// Put implements bucket.Objects.
func (s *Objects) Put(ctx context.Context, name string, size int64, r io.Reader, expect bucket.Expect) (bucket.Object, error) {
	if size <= minPart {
		data, err := bucket.ReadSmall(name, size, r)
		if err != nil {
			return bucket.Object{}, err
		}
		r = bytes.NewReader(data)
	}
	o := minio.PutObjectOptions{ContentType: "application/octet-stream", PartSize: minPart}
	switch {
	case expect.Nothing:
		o.SetMatchETagExcept("*")
	case expect.Version != "":
		o.SetMatchETag(expect.Version)
	}
	put := func() (minio.UploadInfo, error) { return s.client.PutObject(ctx, s.bucket, name, r, size, o) }
	if size > minPart && expect == (bucket.Expect{}) {
		put = func() (minio.UploadInfo, error) { return s.putParts(ctx, name, size, r, o) }
	}
	info, err := put()
	if minio.ToErrorResponse(err).Code == minio.NoSuchUpload {
		// Another one, who went on with the same upload, has finished it.
		if there, err := s.Stat(ctx, name); err == nil && there.Size == size {
			return there, nil
		}
	}
	if err != nil {
		return bucket.Object{}, s.explain(ctx, "writing "+name, err)
	}
	return bucket.Object{Name: name, Size: size, Version: info.ETag, Modified: info.LastModified}, nil
}

// List implements bucket.Objects.
func (s *Objects) List(ctx context.Context, prefix string) iter.Seq2[bucket.Object, error] {
	return func(yield func(bucket.Object, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		for info := range s.client.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
			err := info.Err
			if err != nil {
				err = s.explain(ctx, "listing "+prefix, err)
			}
			if !yield(object(info), err) || err != nil {
				return
			}
		}
	}
}

// Remove implements bucket.Objects.
func (s *Objects) Remove(ctx context.Context, name string) error {
	if err := s.client.RemoveObject(ctx, s.bucket, name, minio.RemoveObjectOptions{}); err != nil {
		return s.explain(ctx, "removing "+name, err)
	}
	return nil
}

// explain says what a person can do about an error.
func (s *Objects) explain(ctx context.Context, doing string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	answer := minio.ToErrorResponse(err)
	switch {
	case answer.Code == minio.NoSuchBucket:
		return fmt.Errorf("%s: there is no bucket %s; make it, or see region= and %s=", doing, s.bucket, endpointName)
	case answer.Code == minio.NoSuchKey || answer.StatusCode == http.StatusNotFound:
		return fmt.Errorf("%s: %w", doing, bucket.ErrNoObject)
	case answer.StatusCode == http.StatusPreconditionFailed, answer.StatusCode == http.StatusConflict:
		return fmt.Errorf("%s: %w", doing, bucket.ErrChanged)
	case answer.StatusCode == http.StatusForbidden, answer.StatusCode == http.StatusUnauthorized:
		return fmt.Errorf("%s: %s refuses it (%s); see AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and what this key may do", doing, s, cmp.Or(answer.Code, answer.Message))
	}
	return fmt.Errorf("%s: %s: %w", doing, s, err)
}
