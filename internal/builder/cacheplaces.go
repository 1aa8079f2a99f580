package builder

import (
	"github.com/strata-build/strata/internal/cache/places"
	"github.com/strata-build/strata/internal/cache/places/azblob"
	"github.com/strata-build/strata/internal/cache/places/directory"
	"github.com/strata-build/strata/internal/cache/places/gha"
	"github.com/strata-build/strata/internal/cache/places/http"
	"github.com/strata-build/strata/internal/cache/places/inline"
	"github.com/strata-build/strata/internal/cache/places/registry"
	"github.com/strata-build/strata/internal/cache/places/s3"
	"github.com/strata-build/strata/internal/transfer"
)

// CachePlaces are the kinds of places that --cache-from and --cache-to can name, in the order in which messages list them.
var CachePlaces = places.Table{
	Kinds: []places.Kind{registry.Named, registry.Kind, directory.Kind, s3.Kind, s3.GCS, azblob.Kind, gha.Kind, http.Kind, inline.Kind, places.None},
	From:  registry.Named.Type,
	To:    registry.Kind.Type,
}

// BlobSources open the blobs of the places that have locations of their own, for the mover of a store.
func BlobSources() []transfer.BlobSource {
	var sources []transfer.BlobSource
	for _, k := range CachePlaces.Kinds {
		if k.Blobs != nil {
			sources = append(sources, *k.Blobs)
		}
	}
	return sources
}
