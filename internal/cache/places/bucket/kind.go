package bucket

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/cache/places"
)

// Uploads is the attribute of a --cache-to that says how many layers are sent at once.
var Uploads = places.Attribute{Name: uploadsName, Check: func(value string) error {
	if n, err := strconv.Atoi(value); err != nil || n < 1 || n > 64 {
		return errors.New("it is a number from 1 to 64")
	}
	return nil
}}

const uploadsName = "upload_parallelism"

// UploadsOf is what Uploads says; 0 where it is not given.
func UploadsOf(s places.Spec) int {
	n, _ := strconv.Atoi(s.Attr[uploadsName]) // Uploads has checked it
	return n
}

// Source is the cache as one that is imported; an error where it cannot be read.
func (p *Place) Source(ctx context.Context) (*cache.Source, error) {
	if err := p.Load(ctx); err != nil {
		return nil, err
	}
	return &cache.Source{Name: p.title, Place: p}, nil
}

// The attributes of a place that say which part of a store it is, in BuildKit's words.
var (
	Prefix = places.Attribute{Name: "prefix"}
	Blobs  = places.Attribute{Name: "blobs_prefix"}
	Name   = places.Attribute{Name: "name"}
)

// OptionsOf are what the attributes of a place say.
func OptionsOf(s places.Spec) Options {
	o := Options{Prefix: s.Attr[Prefix.Name], Blobs: s.Attr[Blobs.Name], Uploads: UploadsOf(s)}
	if o.Prefix != "" && !strings.HasSuffix(o.Prefix, "/") {
		o.Prefix += "/"
	}
	o.Name, _, _ = strings.Cut(s.Attr[Name.Name], ";") // BuildKit takes several
	return o
}
