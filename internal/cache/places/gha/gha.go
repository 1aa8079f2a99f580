// Package gha is a cache in the cache service of GitHub Actions, by version 2 of its interface: the runner's service at
// ACTIONS_RESULTS_URL (Twirp, github.actions.results.api.v1.CacheService), which gives signed URLs of Azure's Blob Storage.
// Package bucket says what is in it.
//
// The service keeps entries under keys, which are written once and can be found by what their keys begin with, the newest first.
// An object that is written again is an entry with the next number, "NAME#7"; one that is what it is by its name, a layer or a
// record, is "NAME#" and the beginning of the digest of what is in it, so that writing it again with the same bytes does nothing.
// Nothing can be removed or listed: GitHub does that by age and size.
//
// Attributes are those of BuildKit's cache of this type (docs.docker.com/build/cache/backends/gha); its entries are not BuildKit's.
package gha

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
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
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/cache/places"
	"github.com/strata-build/strata/internal/cache/places/azblob"
	"github.com/strata-build/strata/internal/cache/places/bucket"
	"github.com/strata-build/strata/internal/transfer"
)

// Names of the attributes.
const (
	scopeName   = "scope"
	urlName     = "url"
	urlV2Name   = "url_v2"
	tokenName   = "token"
	versionName = "version"
	timeoutName = "timeout"
)

// What the runner gives to the actions of a job; a step of a workflow has it by way of an action such as
// crazy-max/ghaction-github-runtime.
const (
	urlVariable   = "ACTIONS_RESULTS_URL"
	tokenVariable = "ACTIONS_RUNTIME_TOKEN"
)

// scheme begins locations.
const scheme = "gha"

// defaultTimeout is how long a request may take that moves no bytes, BuildKit's.
const defaultTimeout = 10 * time.Minute

// Kind is type=gha.
var Kind = places.Kind{
	Type: "gha",
	From: append(common(), places.MountsFrom()...),
	To: slices.Concat(common(), places.Options(), places.MountsTo(), []places.Attribute{
		bucket.Uploads, {Name: "repository"}, {Name: "ghtoken", Secret: true}, // BuildKit lists what is there with these
	}),
	Open: func(ctx context.Context, m *transfer.Mover, s places.Spec, _ ocispec.Platform) (*cache.Source, error) {
		p, err := newPlace(m, s)
		if err != nil {
			return nil, err
		}
		return p.Source(ctx)
	},
	Create: func(m *transfer.Mover, s places.Spec) (cache.Place, error) { return newPlace(m, s) },
	Blobs:  &transfer.BlobSource{Scheme: scheme, Open: openBlob},
}

func common() []places.Attribute {
	return []places.Attribute{
		{Name: scopeName, Check: checkScope}, {Name: urlName, Check: checkURL}, {Name: urlV2Name, Check: checkURL}, {Name: tokenName, Secret: true},
		{Name: versionName, Check: checkVersion}, {Name: timeoutName, Check: checkTimeout},
	}
}

func checkScope(value string) error {
	if value == "" || len(value) > 200 || strings.ContainsAny(value, ",#|") {
		return errors.New("it is a name of up to 200 characters without comma, # and |")
	}
	return nil
}

func checkURL(value string) error {
	u, err := url.Parse(value)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return errors.New("it is the URL of the service, https://HOST/, as " + urlVariable + " has it")
	}
	return nil
}

func checkVersion(value string) error {
	if value != "2" {
		return errors.New("only version 2 of the service is left; GitHub has switched off version 1 in 2025")
	}
	return nil
}

func checkTimeout(value string) error {
	if d, err := time.ParseDuration(value); err != nil || d <= 0 {
		return errors.New("it is a time such as 10m")
	}
	return nil
}

func newPlace(m *transfer.Mover, s places.Spec) (*bucket.Place, error) {
	o, err := New(s)
	if err != nil {
		return nil, err
	}
	return bucket.New(m, o, "gha", bucket.Options{Name: s.Attr[scopeName], Uploads: bucket.UploadsOf(s)}), nil
}

// Objects are the entries of a repository's cache.
type Objects struct {
	base    *url.URL
	token   string
	timeout time.Duration
	caller  *bucket.Caller // of the service
	signed  *bucket.Caller // of the URLs that it gives
}

// New opens the service that a spec, or the environment of a job, names.
func New(s places.Spec) (*Objects, error) {
	address := cmp.Or(s.Attr[urlV2Name], s.Attr[urlName], os.Getenv(urlVariable))
	token := cmp.Or(s.Attr[tokenName], os.Getenv(tokenVariable))
	if address == "" || token == "" {
		return nil, fmt.Errorf("type=gha is for jobs of GitHub Actions: %s and %s are not set; the action crazy-max/ghaction-github-runtime sets them", urlVariable, tokenVariable)
	}
	if err := checkURL(address); err != nil {
		return nil, fmt.Errorf("%s: %w", urlVariable, err)
	}
	base, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	timeout, err := time.ParseDuration(cmp.Or(s.Attr[timeoutName], defaultTimeout.String()))
	if err != nil {
		return nil, err
	}
	o := &Objects{base: base, token: token, timeout: timeout, caller: &bucket.Caller{}, signed: &bucket.Caller{Sign: azblob.Anonymous}}
	o.caller.Sign = func(req *http.Request) error {
		req.Header.Set("Authorization", "Bearer "+o.token)
		return nil
	}
	stores.Add(o.base.String(), o.token, o)
	return o, nil
}

// stores are those that this process has opened, by their URL: the token is in no location.
var stores bucket.Stores

// openBlob opens an object at a location that a place has noted. The token is that of the job that asks.
func openBlob(ctx context.Context, location string, _ ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	where, name, ok := strings.Cut(location, "|")
	if !ok {
		return nil, fmt.Errorf("%q is no location of a cache of GitHub", location)
	}
	return stores.Open(ctx, where, name, offset, func() (bucket.Objects, error) {
		return New(places.Spec{Attr: map[string]string{urlV2Name: where}})
	})
}

// Location implements bucket.Objects.
func (o *Objects) Location() string { return scheme + ":" + o.base.String() }

func (o *Objects) String() string { return "GitHub's cache service" }

// entryVersion tells entries of strata from those of others.
var entryVersion = digest.FromString("strata cache 1").Encoded()

// call calls a method of the service. An answer that is an error of the service gives its code, as Twirp has them.
func (o *Objects) call(ctx context.Context, method string, in, out any) (code string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("%s did not answer within %s", o, o.timeout))
	defer cancel()
	data, err := json.Marshal(in)
	if err != nil {
		return "", err
	}
	resp, err := o.caller.Do(ctx, bucket.Request{
		Method: http.MethodPost, URL: o.base.JoinPath("twirp/github.actions.results.api.v1.CacheService", method),
		Header: http.Header{"Content-Type": {"application/json"}}, Body: &bucket.Body{Size: int64(len(data)), Data: data},
	})
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if data, err = io.ReadAll(io.LimitReader(resp.Body, 1<<20)); err != nil {
		return "", err
	}
	if resp.StatusCode == http.StatusOK {
		if err := json.Unmarshal(data, out); err != nil {
			return "", fmt.Errorf("%s: reading its answer: %w", o, err)
		}
		return "", nil
	}
	var failure struct {
		Code string `json:"code"`
		Msg  string `json:"msg"`
	}
	_ = json.Unmarshal(data, &failure) // of a proxy there may be none
	switch {
	case failure.Code == "already_exists" || resp.StatusCode == http.StatusConflict:
		return "already_exists", nil
	case failure.Code == "not_found" || resp.StatusCode == http.StatusNotFound:
		return "not_found", nil
	case resp.StatusCode == http.StatusUnauthorized, resp.StatusCode == http.StatusForbidden:
		return "", fmt.Errorf("%s refuses it (%s): the token of %s has ended, or may not write here", o, cmp.Or(failure.Msg, resp.Status), tokenVariable)
	case resp.StatusCode == http.StatusTooManyRequests:
		return "", fmt.Errorf("%s is asked too often (%s); it takes 200 new entries a minute of a repository", o, resp.Status)
	}
	return "", fmt.Errorf("%s answered %s (%s)", o, resp.Status, cmp.Or(failure.Msg, failure.Code))
}

// entry is the newest entry of an object.
type entry struct {
	version string // what follows the # of its key
	url     *url.URL
}

// find finds the newest entry of an object; bucket.ErrNoObject if there is none.
func (o *Objects) find(ctx context.Context, name string) (*entry, error) {
	var found struct {
		OK         bool   `json:"ok"`
		URL        string `json:"signed_download_url"`
		MatchedKey string `json:"matched_key"`
	}
	code, err := o.call(ctx, "GetCacheEntryDownloadURL", map[string]any{
		"key": name + "#", "restore_keys": []string{name + "#"}, "version": entryVersion,
	}, &found)
	if err != nil {
		return nil, fmt.Errorf("asking for %s: %w", name, err)
	}
	version, ok := strings.CutPrefix(found.MatchedKey, name+"#")
	if code != "" || !found.OK || !ok {
		return nil, fmt.Errorf("asking for %s: %w", name, bucket.ErrNoObject)
	}
	u, err := url.Parse(found.URL)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("asking for %s: %s gave no URL", name, o)
	}
	return &entry{version, u}, nil
}

// get makes a request for the bytes of the newest entry.
func (o *Objects) get(ctx context.Context, method, name string, offset int64) (*http.Response, bucket.Object, error) {
	e, err := o.find(ctx, name)
	if err != nil {
		return nil, bucket.Object{}, err
	}
	resp, err := o.signed.Do(ctx, bucket.Request{Method: method, URL: e.url, Header: bucket.RangeFrom(offset)})
	if err != nil {
		return nil, bucket.Object{}, fmt.Errorf("reading %s: %w", name, err)
	}
	if resp.StatusCode/100 != 2 {
		resp.Body.Close()
		if resp.StatusCode == http.StatusNotFound {
			return nil, bucket.Object{}, fmt.Errorf("reading %s: %w", name, bucket.ErrNoObject)
		}
		return nil, bucket.Object{}, fmt.Errorf("reading %s: %s answered %s", name, e.url.Host, resp.Status)
	}
	info := bucket.ObjectOf(name, resp)
	info.Version = e.version
	return resp, info, nil
}

// Open implements bucket.Objects.
func (o *Objects) Open(ctx context.Context, name string, offset int64) (io.ReadCloser, bucket.Object, error) {
	resp, info, err := o.get(ctx, http.MethodGet, name, offset)
	if err != nil {
		return nil, info, err
	}
	r, err := bucket.Opened(resp, offset)
	if err != nil {
		return nil, info, fmt.Errorf("reading %s: %w", name, err)
	}
	return r, info, nil
}

// Stat implements bucket.Objects.
func (o *Objects) Stat(ctx context.Context, name string) (bucket.Object, error) {
	resp, info, err := o.get(ctx, http.MethodHead, name, 0)
	if err != nil {
		return info, err
	}
	return info, resp.Body.Close()
}

// Put implements bucket.Objects.
func (o *Objects) Put(ctx context.Context, name string, size int64, r io.Reader, expect bucket.Expect) (bucket.Object, error) {
	version, r, err := o.nextVersion(ctx, name, size, r, expect)
	if err != nil || r == nil {
		return bucket.Object{Name: name, Size: size, Version: version}, err
	}
	version, u, err := o.create(ctx, name, version, expect)
	if err != nil || u == nil {
		return bucket.Object{Name: name, Size: size, Version: version}, err
	}
	up := azblob.Upload{URL: u, Caller: o.signed, Do: o.upload}
	info, err := up.Put(ctx, name, size, r, bucket.Expect{})
	if err != nil {
		return info, err
	}
	var finished struct {
		OK bool `json:"ok"`
	}
	code, err := o.call(ctx, "FinalizeCacheEntryUpload", map[string]string{
		"key": name + "#" + version, "version": entryVersion, "size_bytes": strconv.FormatInt(size, 10),
	}, &finished)
	if err == nil && (code != "" || !finished.OK) {
		err = fmt.Errorf("%s did not take it (%s)", o, cmp.Or(code, "no reason given"))
	}
	if err != nil {
		return info, fmt.Errorf("writing %s: %w", name, err)
	}
	info.Version = version
	return info, nil
}

// create begins an entry. Where there is one of that key, and the condition is any, either it is what was to be written, and the
// URL is nil, or it was never finished, by a job that has ended perhaps, and another key is taken. With a condition, that is done
// once, after the other job had the time to finish it.
func (o *Objects) create(ctx context.Context, name, version string, expect bucket.Expect) (string, *url.URL, error) {
	for try := 0; ; try++ {
		var created struct {
			OK  bool   `json:"ok"`
			URL string `json:"signed_upload_url"`
		}
		code, err := o.call(ctx, "CreateCacheEntry", map[string]string{"key": name + "#" + version, "version": entryVersion}, &created)
		if err != nil {
			return "", nil, fmt.Errorf("writing %s: %w", name, err)
		}
		if code == "" && created.OK {
			u, err := url.Parse(created.URL)
			if err != nil || u.Host == "" {
				return "", nil, fmt.Errorf("writing %s: %s gave no URL", name, o)
			}
			return version, u, nil
		}
		if code != "" && code != "already_exists" || try == keyTries {
			return "", nil, fmt.Errorf("writing %s: %s did not take it (%s)", name, o, cmp.Or(code, "no reason given"))
		}
		conditional := expect != (bucket.Expect{})
		if conditional {
			abandoned := false
			if try == 0 {
				if abandoned, err = o.abandoned(ctx, name, version); err != nil {
					return "", nil, err
				}
			}
			if !abandoned {
				return "", nil, fmt.Errorf("writing %s: %w", name, bucket.ErrChanged)
			}
		}
		if conditional || numbered(name) {
			n, _ := strconv.Atoi(version)
			version = strconv.Itoa(n + 1)
			continue
		}
		if e, err := o.find(ctx, name); err == nil && e.version == version {
			return version, nil, nil
		}
		version = rand.Text()[:16]
	}
}

// keyTries is how often another key is tried.
const keyTries = 4

// unfinishedFor is how long an entry that another job has begun is waited for.
const unfinishedFor = 3 * time.Second

// abandoned says of an entry that was begun whether nobody finishes it: what GitHub gives of a name is another entry still, after a
// while. A job that was ended leaves such.
func (o *Objects) abandoned(ctx context.Context, name, version string) (bool, error) {
	for wait, waited := 100*time.Millisecond, time.Duration(0); ; wait *= 2 {
		e, err := o.find(ctx, name)
		if err != nil && !errors.Is(err, bucket.ErrNoObject) {
			return false, err
		}
		// Another entry that is newer has been written on the same condition.
		if err == nil && (e.version == version || newer(e.version, version)) {
			return false, nil
		}
		if waited >= unfinishedFor {
			return true, nil
		}
		select {
		case <-time.After(wait):
			waited += wait
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
}

// newer says whether a counted version comes after another.
func newer(a, b string) bool {
	x, err := strconv.Atoi(a)
	y, err2 := strconv.Atoi(b)
	return err == nil && err2 == nil && x > y
}

// nextVersion is what follows the # of the key of the entry that is to be written. The reader is nil where there is nothing to
// write, and else one of the same bytes.
func (o *Objects) nextVersion(ctx context.Context, name string, size int64, r io.Reader, expect bucket.Expect) (string, io.Reader, error) {
	if expect == (bucket.Expect{}) && !numbered(name) {
		if size > bucket.Small { // a layer, whose name has its digest
			return "1", r, nil
		}
		data, err := bucket.ReadSmall(name, size, r)
		if err != nil {
			return "", nil, err
		}
		version := digest.FromBytes(data).Encoded()[:16]
		if e, err := o.find(ctx, name); err == nil && e.version == version {
			return version, nil, nil
		}
		return version, bytes.NewReader(data), nil
	}
	e, err := o.find(ctx, name)
	switch {
	case errors.Is(err, bucket.ErrNoObject) && expect.Version == "":
		return "1", r, nil
	case errors.Is(err, bucket.ErrNoObject):
		return "", nil, fmt.Errorf("writing %s: %w", name, bucket.ErrChanged)
	case err != nil:
		return "", nil, err
	case expect.Nothing, expect.Version != "" && expect.Version != e.version:
		return "", nil, fmt.Errorf("writing %s: %w", name, bucket.ErrChanged)
	}
	n, err := strconv.Atoi(e.version)
	if err != nil {
		return "", nil, fmt.Errorf("writing %s: %s has it as %q, which strata does not write", name, o, e.version)
	}
	return strconv.Itoa(n + 1), r, nil
}

// numbered says of an object that its entries are counted, since what is in it changes: a list or the document of a cache mount,
// but not a layer or a record.
func numbered(name string) bool {
	kind, _, _ := strings.Cut(name, "/")
	return kind != "blobs" && kind != "records"
}

// upload makes a request of an upload. An answer that is no success is an error.
func (o *Objects) upload(ctx context.Context, r bucket.Request) (*http.Response, error) {
	resp, err := o.signed.Do(ctx, r)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		resp.Body.Close()
		return nil, fmt.Errorf("sending to %s: it answered %s", r.URL.Host, resp.Status)
	}
	return resp, nil
}

// List implements bucket.Objects.
func (o *Objects) List(context.Context, string) iter.Seq2[bucket.Object, error] {
	return func(yield func(bucket.Object, error) bool) { yield(bucket.Object{}, bucket.ErrNoList) }
}

// Remove implements bucket.Objects: GitHub removes what was not read for a week, and what was read longest ago beyond 10 GB.
func (o *Objects) Remove(context.Context, string) error { return bucket.ErrNoList }
