package builder_test

import (
	"testing"

	"github.com/strata-build/strata/internal/builder"
	"github.com/strata-build/strata/internal/cache/places"
)

// What --cache-from and --cache-to take, and what they say of the rest.
func TestCachePlaces(t *testing.T) {
	from, to := builder.CachePlaces.ParseFrom, builder.CachePlaces.ParseTo
	for _, test := range []struct {
		parse     func(string) (places.Spec, error)
		text      string
		kind, ref string
		err       string
	}{
		{from, "me/app:1", "image", "me/app:1", ""},
		{from, "me/App", "", "", `"me/App" is not an image name: invalid reference format: repository name must be lowercase`},
		{from, "type=registry,ref=me/app", "registry", "me/app", ""},
		{from, "TYPE=local,SRC=dir", "local", "dir", ""},
		{from, "type=registry", "", "", "type=registry needs ref=NAME"},
		{from, "type=local", "", "", "type=local needs src=DIRECTORY"},
		{from, "type=local,src=dir,mode=max", "", "", "type=local: mode is not supported; it takes src, mounts, mounts-limit"},
		{from, "type=inline", "", "", "type=inline: an inline cache is in an image: name that image, --cache-from NAME"},
		{from, "type=oci", "", "", "type=oci is not supported; take type=registry,ref=NAME, type=local,src=DIRECTORY, type=s3,bucket=BUCKET, type=gcs,bucket=BUCKET, type=azblob,account_url=URL, type=gha, type=http,url=URL, or a name alone"},
		{from, "type=none", "", "", "type=none is not supported; take type=registry,ref=NAME, type=local,src=DIRECTORY, type=s3,bucket=BUCKET, type=gcs,bucket=BUCKET, type=azblob,account_url=URL, type=gha, type=http,url=URL, or a name alone"},
		{from, "ref=me/app", "", "", "ref=me/app: it needs a type, as in type=registry,ref=NAME"},
		{from, "type=local,dir", "", "", `type=local,dir: "dir" is not NAME=VALUE`},
		{to, "me/app:cache", "registry", "me/app:cache", ""},
		{to, "none", "none", "", ""},
		{to, "inline", "inline", "", ""},
		{to, "type=inline,mode=max", "inline", "", ""},
		{to, "type=local,dest=dir,mode=max,ignore-error=true,oci-mediatypes=false", "local", "dir", ""},
		{to, "type=registry,ref=a,mode=medium", "", "", "type=registry: mode=medium: it is min, the layers of the image, or max, those of all stages"},
		{to, "type=registry,ref=a,ignore-error=maybe", "", "", "type=registry: ignore-error=maybe: it is true or false"},
		{to, "type=registry,ref=a,compression=zstd", "", "",
			"type=registry: compression is not supported; it takes ref, mode, ignore-error, mounts, mounts-limit, image-manifest, oci-mediatypes"},
		{to, "type=inline,ref=a", "", "", "type=inline: ref is not supported; it takes mode, ignore-error"},
		{to, "type=s3,bucket=x,mode=max", "s3", "x", ""},
		{to, "type=http,url=https://host.example/cache", "http", "https://host.example/cache", ""},
		{to, "gha", "gha", "gha", ""},
		{to, "type=azblob,account_url=https://me.blob.core.windows.net,mode=max", "azblob", "https://me.blob.core.windows.net", ""},
		{to, "type=azblob,name=x", "", "", "type=azblob needs account_url=URL"},
		{to, "type=gha,version=1", "", "", "type=gha: version=1: only version 2 of the service is left; GitHub has switched off version 1 in 2025"},
		{to, "type=oci,name=x", "", "",
			"type=oci is not supported; take type=registry,ref=NAME, type=local,dest=DIRECTORY, type=s3,bucket=BUCKET, type=gcs,bucket=BUCKET, type=azblob,account_url=URL, type=gha, type=http,url=URL, type=inline, type=none, or a name alone"},
	} {
		spec, err := test.parse(test.text)
		switch {
		case test.err != "" && (err == nil || err.Error() != test.err):
			t.Errorf("%s: %v\nwant %s", test.text, err, test.err)
		case test.err == "" && (err != nil || spec.Type != test.kind || spec.Ref != test.ref):
			t.Errorf("%s: %+v, %v", test.text, spec, err)
		}
	}
}
