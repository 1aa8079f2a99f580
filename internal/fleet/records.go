package fleet

import (
	"time"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/cache/places"
	"github.com/strata-build/strata/internal/cache/places/bucket"
	"github.com/strata-build/strata/internal/transfer"
)

// Records are the records that all builds of a queue have in common, with their layers in the depot.
func (q *Queue) Records(m *transfer.Mover, depot places.Depot, where string) *cache.Source {
	prefix := depotHash(where) + "/" // a record is good with its depot only
	place := bucket.New(m, &objects{kv: q.cache, where: "queue:" + where}, "the queue", bucket.Options{Prefix: prefix, Depot: depot})
	return &cache.Source{Name: "the queue", Place: place, Wait: time.Minute}
}
