package cache

import (
	"bytes"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/observed"
)

// Observation is what the weak key of a step is made of: of a RUN its shared key, which of the layers below and of its
// mounts it is observed on; of a step that looks at what is below it the weak key itself.
type Observation struct {
	Key    *Key
	Layers []bool // by their place in the chain; nil for a key of KindBelow
	Mounts []Mounted
}

// Redate gives the weak key and inputs that a step has on layers that hold the same files as those that it was observed
// on, with no time after epoch, in seconds since 1970.
func (o *Observation) Redate(inputs []byte, chain []digest.Digest, epoch int64) (weak digest.Digest, redated []byte, err error) {
	if o.Layers == nil {
		t := &layer.TOC{}
		if err := t.Decode(bytes.NewReader(inputs)); err != nil {
			return "", nil, fmt.Errorf("reading what a step saw below it: %w", err)
		}
		if t, err = t.Dated(epoch); err != nil {
			return "", nil, err
		}
		var b bytes.Buffer
		if err := t.Encode(&b); err != nil {
			return "", nil, err
		}
		return o.Key.on(chain).Digest(), b.Bytes(), nil
	}
	in, err := observed.Decode(inputs)
	if err != nil {
		return "", nil, err
	}
	var served []observed.Served
	for i, d := range chain {
		if i < len(o.Layers) && o.Layers[i] {
			served = append(served, observed.Served{Of: d})
		}
	}
	for _, t := range in.Trees {
		if t.Mount != "" {
			served = append(served, observed.Served{Of: t.Of})
		}
	}
	if len(served) != len(in.Trees) {
		return "", nil, fmt.Errorf("a step was observed on %d layers and mounts, and %d are known", len(in.Trees), len(served))
	}
	return Weaken(o.Key, chain, o.Layers, o.Mounts).Digest(), in.Rebase(served).Encode(), nil
}
