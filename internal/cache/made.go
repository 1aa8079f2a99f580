package cache

import (
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/store"
)

// Made returns the record of the step that made a layer at a time, as a history row tells both: nil if it is not
// here. Several steps may have made the same layer, an empty one above all.
func Made(s *store.Store, layer digest.Digest, at time.Time) (*Record, error) {
	rows, err := s.RecordsOf(layer)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		r, err := Decode(row.Data)
		if err == nil && r.Created.Equal(at) {
			return r, nil
		}
	}
	return nil, nil
}
